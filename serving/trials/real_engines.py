"""The requests of `shared_prefixes` on real engines, and what the simulator says of them.

    python -m marlserve.serving.trials.passes --out passes.csv
    python experiments/replica_routing.py calibrate --passes passes.csv --out timing.json
    python -m marlserve.serving.trials.real_engines --timing timing.json --on-the-way-ms 8

Engines are those of `trials.vllm`; everyone begins with empty caches. Beneath each row of the
gateway there is what the simulator says of the same requests at the same replicas: by the timing of
one engine, which was measured alone, and by this times the factor by which each engine was slower,
as it waited for a core: all of them, the routers and whoever asks are on one machine.
"""

import asyncio
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import tyro

from marlserve.envs.sims.replica import TableTiming
from marlserve.serving.trials.others import Others
from marlserve.serving.trials.predicting import predicted
from marlserve.serving.trials.shared_prefixes import OURS, ROUTERS, Learned, front, head, row
from marlserve.serving.trials.traffic import Traffic, drawn, played
from marlserve.serving.trials.vllm import ENGINE, VLLM

_GENTLE = Traffic(requests=100, per_s=2.0)


def main(
    timing: Path,
    on_the_way_ms: float,
    seeds: tuple[int, ...] = (0, 1),
    traffic: tyro.conf.OmitArgPrefixes[Traffic] = _GENTLE,
    number: int = 3,
    only: tuple[str, ...] = (),
    learned: tyro.conf.OmitArgPrefixes[Learned] = Learned(),  # noqa: B008
    others: Path = Path("build/others"),
    vllm: Path = Path("build/vllm"),
) -> None:
    """Print the tables.

    Args:
        timing: of an engine, as `replica_routing.py calibrate` writes it.
        on_the_way_ms: that a request takes beside its passes, as `trials.passes` says.
        number: of engines.
        only: these rows; none: all.
        others: the virtual environment of routers.
        vllm: that of engines.
    """
    alone, way_s = replace(ENGINE, timing=TableTiming.read(timing)), on_the_way_ms / 1e3
    speeds, rules = (1.0,) * number, (*OURS, *learned.rules())
    with tempfile.TemporaryDirectory() as name, VLLM(vllm, Path(name)).engines(number) as engines:
        found, urls = Others(others, Path(name)), [each.url for each in engines]

        def rows(kind: str, router: str) -> Iterator[str]:
            measured, by_timing, by_factors, factors = [], [], [], list[float]()
            for seed in seeds:
                requests = drawn(traffic, seed)
                for each in engines:
                    each.empty()
                with front(found, router, urls, speeds, learned) as url:
                    results = asyncio.run(played(url, requests, kind != "text"))
                measured.append(results)
                slowness = {each.url: each.slowness() for each in engines}
                factors += slowness.values()
                if router.startswith("gateway"):
                    by_timing.append(predicted(requests, results, alone, way_s))
                    by_factors.append(predicted(requests, results, alone, way_s, slowness))
            yield row(router, measured)
            if by_timing:
                yield row("... simulated", by_timing)
                yield row(f"... {np.mean(factors):.2f} times slower", by_factors)

        for kind, routers in ROUTERS.items():
            print(head(kind), flush=True)
            for router in (*routers, *(f"gateway {each}" for each in rules)):
                if not only or router in only:
                    print("\n".join(rows(kind, router)), flush=True)


if __name__ == "__main__":
    try:
        tyro.cli(main, description=__doc__)
    except (OSError, ValueError) as error:
        sys.exit(f"error: {error}")
