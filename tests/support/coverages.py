"""How often the intervals of `statistics` hold what they are of, in simulation.

    python tests/support/coverages.py          the tables of docs/statistics.md

A policy's value is f(location + seed_s + episode_e + own_e + rest_se), with normal terms, of which
all policies share episode_e; f is 10 + z, exp or the logistic function. It is compared with a
heuristic, which has no seeds, and with another learned policy. What is true is known by
Gauss-Hermite quadrature.
"""

import sys
from collections.abc import Iterator

import numpy as np
from numpy.polynomial.hermite_e import hermegauss

from marlserve.experiments.reports import statistics
from marlserve.experiments.reports.statistics import Bounds, Sample

KINDS = {
    "normal": (lambda z: 10.0 + z, statistics.NONE),
    "lognormal": (np.exp, statistics.POSITIVE),
    "bounded": (lambda z: 1.0 / (1.0 + np.exp(-1.5 - z)), (0.0, 1.0)),
}
SPREADS = {  # standard deviations of seed, episode, own and rest
    "seeds dominate": (0.3, 0.1, 0.1, 0.1),
    "no seed variance": (0.0, 0.4, 0.2, 0.3),
    "comparable": (0.15, 0.3, 0.15, 0.2),
}
BEYOND = {
    "seeds .5": (0.5, 0.1, 0.1, 0.1),
    "seeds 1": (1.0, 0.1, 0.1, 0.1),
    "episodes 1": (0.0, 1.0, 0.3, 0.3),
    "only rest": (0.0, 0.0, 0.0, 0.3),
}
SIZES = [(5, 30), (5, 100), (10, 30), (10, 100)]  # training seeds, episodes
NAMES = ["mean", "x - heuristic", "x - learned", "x / heuristic", "x / learned"]
_LOCATIONS = (0.0, 0.3, -0.2)  # of x, the heuristic, and the other learned policy
_NODES, _WEIGHTS = hermegauss(80)


def coverage(
    kind: str, spread: tuple[float, float, float, float], seeds: int, episodes: int, rounds: int
) -> np.ndarray:
    """Shares of so many rounds in which each of NAMES was held, [5]."""
    f, bounds = KINDS[kind]
    of_seed, of_episode, own, rest = spread
    wide = np.sqrt(np.square(spread).sum())
    spreads = (wide, np.sqrt(np.square(spread[1:]).sum()), wide)
    x, y, z = (
        float(f(at + s * _NODES) @ _WEIGHTS / _WEIGHTS.sum())
        for at, s in zip(_LOCATIONS, spreads, strict=True)
    )
    truth = np.array([x, x - y, x - z, x / y, x / z])
    rng, held = np.random.default_rng(0), np.zeros(len(NAMES))
    for _ in range(rounds):
        shared = of_episode * rng.normal(size=episodes)
        apart = [
            of_seed * (rows > 1) * rng.normal(size=(rows, 1))
            + own * rng.normal(size=episodes)
            + rest * rng.normal(size=(rows, episodes))
            for rows in (seeds, 1, seeds)
        ]
        samples = [
            Sample(f(at + shared + values), learned=len(values) > 1)
            for at, values in zip(_LOCATIONS, apart, strict=True)
        ]
        low, high = np.transpose(list(_intervals(*samples, bounds)))
        held += (low <= truth) & (truth <= high)
    return held / rounds


def _intervals(x: Sample, y: Sample, z: Sample, bounds: Bounds) -> Iterator[tuple[float, float]]:
    for found in (
        statistics.mean(x, bounds),
        statistics.difference(x, y, bounds),
        statistics.difference(x, z, bounds),
        statistics.ratio(x, y),
        statistics.ratio(x, z),
    ):
        yield found.low, found.high


def main(rounds: int = 4000) -> None:
    """Print the tables."""
    header = ["values", "variance", "seeds x episodes", *NAMES]
    for kinds, spreads in ((KINDS, SPREADS), (["lognormal"], BEYOND)):
        print(f"\n| {' | '.join(header)} |\n|{' --- |' * len(header)}")
        for kind in kinds:
            for name, spread in spreads.items():
                for seeds, episodes in SIZES:
                    shares = coverage(kind, spread, seeds, episodes, rounds)
                    cells = [kind, name, f"{seeds} x {episodes}", *(f"{x:.3f}" for x in shares)]
                    print(f"| {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
