"""C programs of the tests, compiled by gcc, which must be there; without it their tests say so."""

import shutil
import subprocess
from pathlib import Path

import pytest

from marlserve.serving.shared_memory import HEADER

NATIVE = HEADER.parents[1] / "native"
_FLAGS = ("-std=gnu11", "-O2", "-Wall", "-Wextra", "-Werror")


def compiled(source: Path, to: Path, *flags: str) -> Path:
    """A program in `to`, of a C file that includes our headers."""
    if (gcc := shutil.which("gcc")) is None:
        pytest.skip("gcc is not there; on Debian apt-get install gcc libc6-dev")
    program = to / source.stem
    folders = ["-I", str(HEADER.parent), "-I", str(NATIVE)]
    command = [gcc, *_FLAGS, *flags, *folders, str(source), "-lm", "-pthread", "-o", str(program)]
    done = subprocess.run(command, text=True, capture_output=True)
    assert done.returncode == 0, done.stderr
    return program
