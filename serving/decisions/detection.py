"""How soon the guard gives alarm, by simulation: the table of docs/serving.md.

    python -m marlserve.serving.decisions.detection

Both arms have a request in each pair, whose times are lognormal with a spread of 0.8 in the
logarithm, as if there were no end to their tail. Limits are the guard's own.
"""

import sys

import numpy as np
import tyro

from marlserve.serving.decisions.guard import HEURISTIC, POLICY, Guard, Limits

# What is wrong with the policy: more of its requests fail, and times are so many times as long.
CASES = {
    "nothing": (0.0, 1.0),
    "nothing, and it is a fifth faster": (0.0, 0.8),
    "a tenth slower": (0.0, 1.1),
    "half as slow again": (0.0, 1.5),
    "twice as slow": (0.0, 2.0),
    "ten times as slow": (0.0, 10.0),
    "5 % of requests fail": (0.05, 1.0),
    "a fifth fails": (0.2, 1.0),
    "all fail": (1.0, 1.0),
}
FAILURES = 0.01  # of the heuristic's requests


def pairs_until_alarm(fails: float, slower: float, rng: np.random.Generator, most: int) -> float:
    """Infinite if there is no alarm within `most`."""
    guard = Guard(Limits(), clock=lambda: 0.0)
    times_s = rng.lognormal(0.0, 0.8, (most, 2)) * (slower, 1.0)
    failed = rng.random((most, 2)) < (max(fails, FAILURES), FAILURES)
    for pair in range(most):
        for arm, side in ((POLICY, 0), (HEURISTIC, 1)):
            if guard.add(arm, float(times_s[pair, side]), bool(failed[pair, side]), 0.0):
                return pair + 1
    return np.inf


def main(runs: int = 200, most: int = 5_000, seed: int = 0) -> None:
    """Print the table.

    Args:
        runs: for every case.
        most: pairs of a run.
        seed: of the traffic.
    """
    if not (1 <= runs <= 10**6 and 1 <= most <= 10**7):
        raise ValueError(f"runs and most are {runs} and {most}; allowed is 1 to 10^6, 10^7")
    rng = np.random.default_rng(seed)
    print(
        "| the policy's requests | alarm within 1,000 pairs, % | within 5,000, % | median pairs |"
    )
    print("| --- | ---: | ---: | ---: |")
    for name, (fails, slower) in CASES.items():
        found = np.array([pairs_until_alarm(fails, slower, rng, most) for _ in range(runs)])
        early, late = (100.0 * (found <= within).mean() for within in (1_000, 5_000))
        median = np.median(found)
        shown = f"{median:,.0f}" if np.isfinite(median) else "none"
        print(f"| {name} | {early:.1f} | {late:.1f} | {shown} |")


if __name__ == "__main__":
    try:
        tyro.cli(main, description=__doc__)
    except ValueError as error:
        sys.exit(f"error: {error}")
