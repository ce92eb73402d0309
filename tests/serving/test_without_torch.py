"""An answer takes neither torch nor Ray: without them, policy files are read and asked."""

import subprocess
import sys

import pytest
import serving_cases

from marlserve.policies import export

ANSWER = """
import sys
from importlib import import_module


class Refused:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "ray"):
            raise ImportError(name + " is out of reach")


sys.meta_path.insert(0, Refused())
sys.path.insert(0, sys.argv[1])
from pkgutil import walk_packages

from marlserve import serving
names = [module.name for module in walk_packages(serving.__path__, "marlserve.serving.")]
learns = (
    *("limits", "algorithms", "house_algorithms", "two_rates", "learner", "external"),
    *("runners", "speed"),
)
needs_them = (
    *("marlserve.serving.training.", "marlserve.serving.ray_router."),
    *(f"marlserve.serving.trainer.{name}." for name in learns),
)
asked = [name for name in names if not f"{name}.".startswith(needs_them)]
assert len(asked) > 5 and "marlserve.serving.decisions.decider" in asked
for name in asked:
    import_module(name)

from marlserve.policies import export
from marlserve.serving.decisions.decider import Decider
from marlserve.serving.decisions.decision import Settings
from marlserve.serving.decisions.guard import Guard, Limits
from marlserve.serving.decisions.modes import Mode
from marlserve.serving.decisions.player import Player
from marlserve.serving.experience.events import new_ids
from serving_cases import question

decider = Decider(Settings(Mode("policy", 1.0)), Guard(Limits()), new_ids())
decider.player = Player(export.read(sys.argv[2]), "1")
print(decider.decide(question()).action)
"""


@pytest.mark.slow
def test_it_answers(tmp_path):
    export.save(serving_cases.policy_file([0.0, 0.5, 1.0]), tmp_path / "policy")
    support = serving_cases.__file__.rpartition("/")[0]
    code = [sys.executable, "-c", ANSWER, support, str(tmp_path / "policy")]
    done = subprocess.run(code, cwd=tmp_path, text=True, capture_output=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "2\n"


CLIENT = """
import sys

FEW = {"numpy", "grpc", "google", "gymnasium", "farama_notifications", "pettingzoo", "yaml"}
FEW |= {"safetensors", "numba", "llvmlite", "cloudpickle", "typing_extensions", "marlserve"}


class Refused:
    def find_spec(self, name, path=None, target=None):
        if "." not in name and name not in FEW | sys.stdlib_module_names and path is None:
            raise ImportError(name + " is out of reach")


sys.meta_path.insert(0, Refused())
from marlserve.serving.client.agent import Agent
from marlserve.serving.client.rl4sys import RL4SysAgent
from marlserve.serving.client.settings import ClientSettings

with Agent(ClientSettings(address="127.0.0.1:1", fallback_action=3)) as agent:
    print(agent.act([0.0]).action)
    agent.close(0.0)
"""


def test_a_client_stands_on_few_libraries(tmp_path):
    """Those that docs/external_training.md names."""
    code = [sys.executable, "-c", CLIENT]
    done = subprocess.run(code, cwd=tmp_path, text=True, capture_output=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "3\n"
