"""Programs in C: a small data plane, and what shows and tests the headers.

    from marlserve.serving.native import compiled

    program = compiled("data_plane", to)      # by gcc, which must be there

- `reservoir.h`: the reservoirs of `envs.sims.reservoir`; `reservoir.c` feeds and times them
- `data_plane.c`: flows, a flow table, dispatch by weights from shared memory
- `peer.c`: the other side of a region of `serving.shared_memory`; `speed` measures all of these
"""

import shutil
import subprocess
from pathlib import Path

from marlserve.serving.shared_memory import HEADER

FOLDER = Path(__file__).parent
_FLAGS = ("-std=gnu11", "-O2", "-Wall", "-Wextra", "-Werror")


def compiled(name: str, to: Path, *flags: str) -> Path:
    """The program of that name, made in the folder `to`.

    Raises:
        FileNotFoundError: without gcc.
        ValueError: if it does not compile.
    """
    if (gcc := shutil.which("gcc")) is None:
        raise FileNotFoundError("gcc is not there; on Debian: apt-get install gcc libc6-dev")
    program, folders = to / name, ("-I", str(HEADER.parent), "-I", str(FOLDER))
    command = [gcc, *_FLAGS, *flags, *folders, str(FOLDER / f"{name}.c"), "-lm", "-o", str(program)]
    done = subprocess.run(command, text=True, capture_output=True)
    if done.returncode:
        raise ValueError(f"{name}.c does not compile: {done.stderr}")
    return program
