"""A policy for the routing problem decides in service as in the simulator, from plain numbers."""

import numpy as np
import pytest
from gymnasium.spaces import Box, Discrete

from marlserve.envs.replica_routing import (
    BASELINES,
    FEATURES,
    MIXED,
    Measured,
    Problem,
    observe,
)
from marlserve.policies.export.layers import Layer
from marlserve.policies.export.network import Network, PolicyFile
from marlserve.policies.export.numpy_policy import NumpyPolicy
from marlserve.serving.decisions.decider import Decider
from marlserve.serving.decisions.decision import Settings
from marlserve.serving.decisions.guard import Guard, Limits
from marlserve.serving.decisions.heuristics import Heuristic
from marlserve.serving.decisions.modes import Mode
from marlserve.serving.decisions.player import Player
from marlserve.serving.decisions.question import Question, measured, routed
from marlserve.serving.experience.events import new_ids

R, STEPS = MIXED.num_replicas, 60
GATEWAY = "gateway_0"


@pytest.fixture(scope="module")
def file() -> PolicyFile:
    """A network that looks at every replica by itself."""
    rng, size = np.random.default_rng(0), len(FEATURES)
    weights = {
        "each.weight": rng.normal(size=(8, size)).astype(np.float32),
        "each.bias": rng.normal(size=8).astype(np.float32),
        "score.weight": rng.normal(size=(1, 8)).astype(np.float32),
        "score.bias": np.zeros(1, np.float32),
    }
    layers = (
        Layer("each", "linear", ("observation",), (R, 8)),
        Layer("relu", "relu", ("each",), (R, 8)),
        Layer("score", "linear", ("relu",), (R, 1)),
        Layer("scores", "flatten", ("score",), (R,)),
    )
    network = Network(Box(0.0, 1.0, (R, size)), Discrete(R), layers, weights, "logits")
    return PolicyFile({"p": network}, {GATEWAY: "p"})


@pytest.fixture(scope="module")
def played(file) -> list[tuple[dict[str, list], int, int]]:
    """What the gateway measured, as one would log it; the policy's choice, and a heuristic's."""
    problem, policy = Problem(MIXED), NumpyPolicy(file)
    problem.reset([3])
    heuristic, made = BASELINES["least_requests"].policy(problem), []
    for _ in range(STEPS):
        seen = {GATEWAY: problem.observations()[:, 0]}
        of_policy, of_heuristic = policy(seen)[GATEWAY], heuristic(seen)[GATEWAY]
        plain = {name: value[0, 0].tolist() for name, value in problem.measured()._asdict().items()}
        made.append((plain, int(of_policy[0]), int(of_heuristic[0])))
        problem.step(of_policy[:, None])
    return made


def asked(mode: str, file: PolicyFile) -> Decider:
    share = 1.0 if mode == "policy" else None
    made = Decider(Settings(Mode(mode, share)), Guard(Limits()), new_ids(), seed=0)
    made.player = Player(file, "1", agent=GATEWAY)
    return made


def measured_from(plain: dict[str, list]) -> Measured:
    return measured(**plain)


def test_the_policy_does_what_it_does_in_the_simulator(played, file):
    decider = asked("policy", file)
    decisions = [decider.decide(routed(measured_from(plain), MIXED)) for plain, _, _ in played]
    assert {decision.reason for decision in decisions} == {"policy"}
    assert [x.action for x in decisions] == [of_policy for _, of_policy, _ in played]
    assert len({x.action for x in decisions}) > 1


def test_the_heuristic_is_the_baseline(played):
    rule = Heuristic("least_requests")
    for plain, _, of_heuristic in played:
        shares = rule.probabilities(measured_from(plain), np.ones(R, bool))
        assert shares[of_heuristic] == shares.max()


def test_what_is_down_gets_nothing(played, file):
    decider = asked("policy", file)
    for plain, of_policy, _ in played[:10]:
        up = [float(i != of_policy) for i in range(R)]
        decision = decider.decide(routed(measured_from(plain | {"up": up}), MIXED))
        assert decision.action != of_policy


@pytest.mark.parametrize("kept", [[3, 1], [0, 2, 1], [0, 1, 2, 3, 3]])
def test_a_policy_that_looks_at_each_replica_plays_as_many_as_there_are(kept, played, file):
    """And what it thinks of one does not depend on how many others there are."""
    decider, all_of_them = asked("policy", file), Player(file, "1", agent=GATEWAY)
    for plain, _, _ in played[:20]:
        seen = measured_from(plain)
        observation = observe(seen, MIXED)[kept]
        few = measured(np.asarray(plain["requests"])[kept])
        decision = decider.decide(Question(few, observation, np.ones(len(kept), bool)))
        assert (decision.reason, decision.version) == ("policy", "1")
        values = np.array(all_of_them.values(observe(seen, MIXED)))
        np.testing.assert_allclose(decision.values, values[kept], rtol=1e-5)
        back = decider.decide(routed(seen, MIXED))
        assert back.reason == "policy"


def test_another_number_of_replicas_is_refused():
    with pytest.raises(ValueError, match="the Config has 4 replicas"):
        routed(measured([1, 2, 3]), MIXED)
