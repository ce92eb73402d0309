"""C programs of the tests; where gcc is missing, their tests say so."""

import shutil
from pathlib import Path

import pytest

from marlserve.serving import native


def compiled(name: str, to: Path, *flags: str) -> Path:
    """See `native.compiled`."""
    if shutil.which("gcc") is None:
        pytest.skip("gcc is not there; on Debian: apt-get install gcc libc6-dev")
    return native.compiled(name, to, *flags)
