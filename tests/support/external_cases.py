"""A front with a policy that is known, without a learner behind it, and fragments for it."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import inf

import numpy as np
from gymnasium.spaces import Box, Discrete

from marlserve.policies.export.layers import Layer
from marlserve.policies.export.network import Network, PolicyFile
from marlserve.serving.client.agent import Agent
from marlserve.serving.client.settings import ClientSettings
from marlserve.serving.trainer.front import Front, FrontSettings
from marlserve.serving.trainer.inlet import Inlet
from marlserve.serving.wire.contract import COLUMNS, Contract
from marlserve.serving.wire.seats import Seat
from marlserve.serving.wire.steps import GOES_ON, Part, Steps

PATIENCE_S = 180.0  # a busy machine takes so long to start a learner
STEP_S = 0.5  # that a learner waits for steps
SEEN, PLAYED = Box(-9.0, 9.0, (4,), np.float32), Discrete(3)


def contract(most_staleness: float = inf, on_policy: bool = False, **more) -> Contract:
    given = {"seats": {"*": Seat(SEEN, PLAYED)}, "columns": COLUMNS} | more
    return Contract("policy", on_policy=on_policy, most_staleness=most_staleness, **given)


def policy(values=(0.0, 1.0, 2.0), outputs: str = "action values") -> PolicyFile:
    """One that thinks so of each action, whatever it sees."""
    bias = np.array(values, np.float32)
    weights = {"q.weight": np.zeros((len(bias), 4), np.float32), "q.bias": bias}
    layers = (Layer("q", "linear", ("observation",), (len(bias),)),)
    network = Network(SEEN, Discrete(len(bias)), layers, weights, outputs)
    return PolicyFile({"q": network}, {"*": "q"})


def steps(count: int = 3, run: str = "", version: int = 1, **changes) -> Steps:
    """A fragment that sees the number of the step, from 0 to 8 and again."""
    seen = (np.arange(count + 1) + changes.get("first_step", 0)) % 9
    part = {
        "return_before": 0.0,
        "observations": np.repeat(seen.astype(np.float32)[:, None], 4, axis=1),
        "actions": np.arange(count) % 3,
        "rewards": np.arange(count, dtype=np.float32),
        "log_probabilities": np.full(count, -1.0, np.float32),
        "outputs": np.zeros((count, 3), np.float32),
    }
    own = {name: changes.pop(name) for name in list(changes) if name in part}
    given = {
        "agent": "agent",
        "episode": 1,
        "first_step": 0,
        "ending": GOES_ON,
        "run": run,
        "versions": np.full(count, version),
        "times_s": np.arange(count, dtype=np.float64),
        "parts": (Part(**part | own),),
    }
    return Steps(**given | changes)


@contextmanager
def fronted(**settings) -> Iterator[Front]:
    with Front(FrontSettings(**{"address": "127.0.0.1:0"} | settings)) as front:
        yield front


def inlet_of(front: Front, held_to: Contract | None = None) -> Inlet:
    """What a learner has, with nothing published."""
    given = front.learner_config
    return Inlet(given["address"], given["secret"], contract() if held_to is None else held_to)


def agent_of(front: Front, **settings) -> Agent:
    return Agent(ClientSettings(**{"address": front.address, "evaluator": "numpy"} | settings))


def until(condition: Callable[[], bool]) -> None:
    end_s = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < end_s, "it takes too long"
        time.sleep(0.01)


def play(agent: Agent, episodes: int, length: int = 5) -> int:
    """Episodes that end with a reward of 1 a step; how many steps it were."""
    for _ in range(episodes):
        for step in range(length):
            agent.act(np.full(4, step % 9, np.float32)).reward(1.0)
        agent.end(terminated=True)
    return episodes * length


def everything(inlet: Inlet) -> list[Steps]:
    """All that has arrived so far."""
    return inlet.take(1_000_000, STEP_S)
