"""Regions for tests, and the program peer.c, which is the other side of them."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import numpy as np

from marlserve.serving.shared_memory.shared_memory import FOLDER, MsgOut

PATIENCE_S = 60.0


@contextmanager
def region_name() -> Iterator[str]:
    """Of a region that nobody has, and nobody will."""
    made = f"test_{os.getpid()}_{uuid4().hex[:8]}"
    try:
        yield made
    finally:
        for path in FOLDER.glob(f"{made}*"):
            path.unlink()


def run(program: Path, *words: object) -> str:
    """What it prints; it must succeed."""
    command = [str(program), *map(str, words)]
    done = subprocess.run(command, text=True, capture_output=True, timeout=PATIENCE_S)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.strip()


def is_whole(seen: MsgOut) -> bool:
    """Whether all of a message of `peer write` is of its number."""
    places = np.arange(len(seen.ongoing))
    return bool(
        (seen.completed == seen.number + places).all()
        and (seen.ongoing == (seen.number + places) % 2**32).all()
        and (seen.is_active == bool(seen.number & 1)).all()
        and (seen.statistics_s == seen.number % 65536).all()
    )
