"""How fast messages, reservoirs and the data plane are, and whether any message is torn.

    python -m marlserve.serving.native.speed

Prints a table. Messages are of 7 servers. It needs gcc, and takes a minute or two, of both cores.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import tyro

from marlserve.envs.checks import is_whole
from marlserve.serving.native import compiled
from marlserve.serving.shared_memory.shared_memory import SharedMemoryRegion

SERVERS = 7
_RULES = ("overwrite", "algorithm R", "algorithm L")


def rows(
    programs: Path, reads: int, seconds: float, share: float = 1.0
) -> Iterator[tuple[str, str]]:
    """(what, how fast), one after another.

    Args:
        programs: a folder for the compiled ones.
        reads: of messages that a C writer writes at full speed.
        seconds: for that, at most.
        share: of the usual numbers of everything else.
    """
    usual, answers = round(share * 5_000_000), round(share * 200_000)
    peer = compiled("peer", programs)
    name = f"speed_{os.getpid()}"
    with SharedMemoryRegion.create(name, SERVERS) as region:
        try:
            written = float(_run(peer, name, "write", usual))
            yield "C writes, messages per s", f"{written:,.0f}"
            yield "Python writes, messages per s", f"{_python_writes(region, answers):,.0f}"
            with _beside(peer, name, "write", 10**12):
                found = _run(peer, name, "read", reads, seconds).split()
                yield "C reads while C writes, messages per s", f"{float(found[3]):,.0f}"
                yield "of so many", f"{int(found[0]) + int(found[1]):,}"
                yield "torn", found[1]
                yield "without a whole one in 1,000 tries", found[2]
            with _beside(peer, name, "write", 10**12):
                yield (
                    "Python reads while C writes, messages per s",
                    f"{_python_reads(region, 2.0 * share):,.0f}",
                )
            with _beside(peer, name, "echo"):
                pong_us = float(_run(peer, name, "pong", answers))
                yield "there and back, C and C, us", f"{pong_us:.2f}"
            with _beside(peer, name, "echo"):
                yield "there and back, Python and C, us", f"{_pong_us(region, answers // 10):.2f}"
        finally:
            region.unlink()
    reservoir = compiled("reservoir", programs)
    for number, rule in enumerate(_RULES):
        per_s = float(_run(reservoir, "speed", number, 20 * usual).split()[0])
        yield f"reservoirs, {rule}, adds per CPU-s", f"{per_s:,.0f}"
    plane = compiled("data_plane", programs)
    said = json.loads(_run(plane, "bench", name, "--cores", "2,2,2,2,4,4,4", "--flows", usual))
    yield "data plane, a flow by fixed weights, ns", f"{said['sed_ns']:.0f}"
    yield "with the policy's, reservoirs and messages, ns", f"{said['policy_ns']:.0f}"
    yield "a message with its statistics, us", f"{said['message_us']:.0f}"


def _run(program: Path, *words: object) -> str:
    command = [str(program), *map(str, words)]
    return subprocess.run(command, text=True, capture_output=True, check=True).stdout.strip()


@contextmanager
def _beside(program: Path, *words: object) -> Iterator[None]:
    """While a program runs; it is killed in the end."""
    command = [str(program), *map(str, words)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        time.sleep(0.1)
        try:
            yield
        finally:
            process.kill()


def _python_writes(region: SharedMemoryRegion, count: int) -> float:
    weights, begin_s = np.ones(SERVERS), time.perf_counter()
    for _ in range(count):
        region.write_msg_in(weights)
    return count / (time.perf_counter() - begin_s)


def _python_reads(region: SharedMemoryRegion, seconds: float) -> float:
    count, begin_s = 0, time.perf_counter()
    while (taken_s := time.perf_counter() - begin_s) < seconds:
        count += region.read_msg_out() is not None
    return count / taken_s


def _pong_us(region: SharedMemoryRegion, count: int) -> float:
    weights, begin_s = np.ones(SERVERS), time.perf_counter()
    for _ in range(count):
        number = region.write_msg_in(weights)
        while (seen := region.read_msg_out()) is None or seen.completed[0] != number:
            pass
    return 1e6 * (time.perf_counter() - begin_s) / count


def main(reads: int = 100_000_000, seconds: float = 60.0) -> None:
    """Print the table.

    Args:
        reads: of messages that another process writes at full speed.
        seconds: for that, at most.
    """
    if not (is_whole(reads, 1, 10**12) and 0.0 < seconds <= 1e5):
        raise ValueError(f"reads and seconds are {reads}, {seconds}; allowed is up to 10^12, 10^5")
    print("| what | |\n| --- | ---: |")
    with TemporaryDirectory() as folder:
        for what, how in rows(Path(folder), reads, seconds):
            print(f"| {what} | {how} |", flush=True)


if __name__ == "__main__":
    try:
        tyro.cli(main, description=__doc__)
    except (ValueError, OSError) as error:
        sys.exit(f"error: {error}")
