"""The oldest and the newest supported versions of what problems stand on.

    UV_TORCH_BACKEND=cpu pipx run nox

Each session is an environment of its own with one of these versions, and otherwise what
constraints.txt says; it runs the tests of traces, simulators and problems. RLlib asks for one
version of gymnasium, so that the oldest that is supported is the newest, until RLlib moves.
"""

import re
from pathlib import Path

import nox

NAMES = ("gymnasium", "pettingzoo", "numpy")
EXTRAS = "test,text,kv_compression,gguf"
TESTS = ("tests/traces", "tests/sims", "tests/envs")
HERE = Path(__file__).parent
nox.options.default_venv_backend = "uv|virtualenv"


def bounds() -> list[str]:
    """["numpy==2.0", ...], the lower bounds in setup.cfg."""
    needs = re.findall(r"^    ([\w-]+)>=([\d.]+)$", (HERE / "setup.cfg").read_text(), re.M)
    return [f"{name}=={least}" for name, least in needs if name in NAMES]


@nox.session
@nox.parametrize("versions", [*bounds(), "newest"])
def supported(session: nox.Session, versions: str) -> None:
    """The tests of problems; arguments go on to pytest."""
    named = NAMES if versions == "newest" else (versions.partition("==")[0],)
    pins = Path(session.create_tmp(), "constraints.txt")
    lines = (HERE / "constraints.txt").read_text().splitlines()
    kept = [line for line in lines if line.partition("==")[0] not in named]
    pins.write_text("\n".join(kept if versions == "newest" else [*kept, versions]) + "\n")
    session.install("-c", str(pins), "-e", f".[{EXTRAS}]")
    session.run("pytest", "-m", "not slow", *(session.posargs or TESTS))
