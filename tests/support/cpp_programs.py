"""The programs of `serving/cpp`, which `make test-cpp` builds, or their tests are skipped."""

import os
from pathlib import Path

import pytest

CPP = [
    pytest.mark.cpp,
    pytest.mark.skipif("MARLSERVE_CPP" not in os.environ, reason="make test-cpp builds them"),
]


def program(name: str) -> Path:
    return Path(os.environ["MARLSERVE_CPP"]) / name
