"""What all tests share: one thread per process, repeatable examples, and one quiet Ray.

`ray_session` is the Ray of the tests that need one; only those pay for it. `support/` is
importable, in Ray's workers too, so that the toy environments are found by `import toys`.
"""

import gc
import inspect
import os
import re
import sys
from functools import partial
from pathlib import Path

_ALL_SLOW = re.compile(r"^pytestmark = .*mark\.slow", re.MULTILINE)
_SUPPORT = str(Path(__file__).parent / "support")
# Before numba, torch and matplotlib are imported, which read these once.
os.environ.update(OMP_NUM_THREADS="1", NUMBA_NUM_THREADS="1", MPLBACKEND="Agg")
os.environ.update(RAY_worker_niceness="0")  # or workers starve while other tests run beside
os.environ.setdefault("PYTHONHASHSEED", "0")  # of the processes that tests start
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [_SUPPORT, os.environ.get("PYTHONPATH")]))
sys.path.insert(0, _SUPPORT)
gc.disable()  # as long as modules are imported, of which nothing is garbage

import pytest
from hypothesis import settings

# RLlib asks for the whole stack when it makes a connector. With the source lines of each frame, and
# as many modules as a test run has loaded, that takes a tenth of a second for each of them.
inspect.stack = partial(inspect.stack, 0)

# Compiling a kernel takes longer than any deadline; the same examples each time keep CI steady.
settings.register_profile("marlserve", deadline=None, derandomize=True)
settings.load_profile("marlserve")


def pytest_ignore_collect(collection_path, config):
    """Where no slow test is asked for, files that have no other one are not imported."""
    if config.option.markexpr == "not slow" and collection_path.suffix == ".py":
        return bool(_ALL_SLOW.search(collection_path.read_text())) or None
    return None


def pytest_collection_finish():
    gc.freeze()  # nor is it looked through again and again while tests run
    gc.enable()


@pytest.fixture(scope="session")
def ray_session():
    """A running Ray with room for two env runners and two learners."""
    from marlserve.policies import session  # whoever only hands out tests needs no Ray

    session.start(num_cpus=4)
    yield
    session.stop()


@pytest.fixture(scope="session")
def small_kv_compression(tmp_path_factory):
    """The Config `kv_compression_cases.SMALL` with a table."""
    from kv_compression_cases import SMALL, built  # only who asks for it loads a language model

    return built(tmp_path_factory.mktemp("table"), SMALL)
