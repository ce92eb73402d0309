"""Cached share and latencies of requests whose prompts begin alike, by gateway and by routers.

    python -m marlserve.serving.trials.shared_prefixes --seeds 0 1 2
    python -m marlserve.serving.trials.shared_prefixes --seeds 0 1 2 --speeds 2.0 1.0 0.5

Everyone sends the same requests to new mock engines, in turn; the gateway is told how fast these
are. Prompts are token ids, as vllm-router's cache_aware wants them, or text, as sglang-router's
does. The session of a request is its group. Rows are means over the seeds, the least and the
largest in brackets.
"""

import asyncio
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from subprocess import Popen

import numpy as np
import tyro

from marlserve.serving.service.load import process
from marlserve.serving.trials.others import BLOCK_TOKENS, NUM_BLOCKS, Others, free_port
from marlserve.serving.trials.traffic import Result, Traffic, drawn, played

ROUTERS = {  # by how they want prompts
    "token ids": ("vllm round_robin", "vllm cache_aware", "vllm sticky_least_loaded"),
    "text": ("sglang round_robin", "sglang cache_aware"),
}
OURS = ("least_requests", "prefix_affinity", "cache_aware")


@dataclass(frozen=True)
class Learned:
    """What the gateway plays beside its rules."""

    models: Path | None = None  # a store of policies: what it serves; none: nothing
    problem: str = "chat"  # that they were trained on, ...
    trained_for: Path | None = None  # ... and the timing of engines, if it was told one

    def rules(self) -> list[str]:
        return [] if self.models is None else ["learned"]

    def flags(self) -> list[str]:
        """Of the gateway."""
        timing = [] if self.trained_for is None else ["--timing", str(self.trained_for)]
        return ["--models", str(self.models), "--share", "1.0", "--problem", self.problem, *timing]


@contextmanager
def gateway(urls: list[str], *flags: str, output: Path) -> Iterator[tuple[str, Popen]]:
    """Ours; its URL, and its process."""
    port = free_port()
    command = [sys.executable, "-m", "marlserve.serving.gateway", "--port", str(port)]
    url = f"http://127.0.0.1:{port}"
    flags = ("--replicas", *urls, *flags)
    with process([*command, *flags], f"{url}/ready", output=output) as started:
        yield url, started


def head(kind: str) -> str:
    """Of a table."""
    columns = "cached share | TTFT p50, ms | p99 | e2e p50, ms | p99 | failed"
    return f"| prompts are {kind} | {columns} |\n| --- | ---: | ---: | ---: | ---: | ---: | ---: |"


def row(name: str, results: list[list[Result]]) -> str:
    """Of a table, over seeds."""
    columns = [[_numbers(each)[i] for each in results] for i in range(6)]
    shown = [f"{np.mean(x):.3f} [{min(x):.3f}, {max(x):.3f}]" for x in columns[:1]]
    shown += [f"{np.mean(x):.0f} [{min(x):.0f}, {max(x):.0f}]" for x in columns[1:5]]
    return f"| {name} | {' | '.join(shown)} | {sum(columns[5]):.0f} |"


def _numbers(results: list[Result]) -> list[float]:
    """Cached share; p50 and p99 of TTFT and e2e in ms; how many failed."""
    ttft_ms = [1e3 * x.ttft_s for x in results if x.ttft_s is not None]
    e2e_ms = [1e3 * x.e2e_s for x in results if x.e2e_s is not None]
    prompts = sum(x.prompt_tokens for x in results)
    share = sum(x.cached_tokens for x in results) / max(prompts, 1)
    late = [*np.percentile(ttft_ms, (50, 99)), *np.percentile(e2e_ms, (50, 99))]
    return [share, *late, len(results) - len(ttft_ms)]


def main(
    seeds: tuple[int, ...] = (0, 1, 2),
    traffic: tyro.conf.OmitArgPrefixes[Traffic] = Traffic(),  # noqa: B008
    only: tuple[str, ...] = (),
    speeds: tuple[float, ...] = (1.0, 1.0, 1.0),
    learned: tyro.conf.OmitArgPrefixes[Learned] = Learned(),
    others: Path = Path("build/others"),
) -> None:
    """Print the tables.

    Args:
        only: these rows; none: all.
        speeds: of the engines, one each, times that of the GPU whose time they take.
        others: the virtual environment of engines and routers.
    """
    with tempfile.TemporaryDirectory() as folder:
        found = Others(others, Path(folder))
        for kind, names in ROUTERS.items():
            print(head(kind))
            for name in (*names, *(f"gateway {each}" for each in (*OURS, *learned.rules()))):
                if only and name not in only:
                    continue
                results = []
                for seed in seeds:
                    with (
                        found.engines(speeds) as urls,
                        front(found, name, urls, speeds, learned) as url,
                    ):
                        requests = drawn(traffic, seed)
                        results.append(asyncio.run(played(url, requests, kind != "text")))
                print(row(name, results), flush=True)


@contextmanager
def front(
    found: Others,
    name: str,
    urls: list[str],
    speeds: Sequence[float],
    learned: Learned,
) -> Iterator[str]:
    """What is asked in front of engines, by its name in the table; its URL."""
    kind, _, rule = name.partition(" ")
    if kind != "gateway":
        with found.router(name, urls) as (url, _):
            yield url
        return
    flags = ["--cache-tokens", str(BLOCK_TOKENS * NUM_BLOCKS), "--speeds", *map(str, speeds)]
    if rule == "learned":
        flags += learned.flags()
    else:
        flags += ["--mode", "heuristic", "--heuristic", rule]
    with gateway(urls, *flags, output=found.folder / "gateway.log") as (url, _):
        yield url


if __name__ == "__main__":
    try:
        tyro.cli(main, description=__doc__)
    except (OSError, ValueError) as error:
        sys.exit(f"error: {error}")
