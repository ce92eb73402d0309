"""What a controller observes and who chooses its weights."""

from dataclasses import replace
from math import inf
from types import SimpleNamespace

import numpy as np
import pytest
from weight_policies import CONFIG, policy_file

from marlserve.envs.load_balance import FEATURES, Config, Problem, traffic
from marlserve.policies import export
from marlserve.serving.controller.chooser import Chooser
from marlserve.serving.controller.data_plane import Flow, Seen
from marlserve.serving.controller.heuristics import NAMES, Heuristic
from marlserve.serving.controller.player import Player, Policies
from marlserve.serving.controller.settings import Settings
from marlserve.serving.controller.sight import Sight
from marlserve.serving.decisions.decision import REASONS
from marlserve.serving.decisions.guard import Guard, Limits
from marlserve.serving.decisions.modes import Mode

ALWAYS = Mode("policy", 1.0)
NOW_S = 1_000.0
OBSERVATION = np.full((CONFIG.num_servers, len(FEATURES)), 0.5, np.float32)


# What it sees ------------------------------------------------------------------------------------


def flows(log: np.ndarray, slower: float) -> list[Flow]:
    """Of the simulator's log, whose clock began in 1970."""
    times = slower * (log["time_s"] - log["value_s"]), slower * log["value_s"]
    return [Flow(*flow) for flow in zip(log["pair"], *times, strict=True)]


@pytest.mark.parametrize(
    ("rule", "slower"), [("overwrite", 1), ("algorithm_r", 1), ("overwrite", 4)]
)
def test_the_simulator_and_the_controller_observe_the_same(rule, slower):
    """From one log, step by step. One balancer: several share a generator in the simulator."""
    config = Config(
        num_balancers=1,
        cores=(1, 2, 2),
        load=(0.8, 0.8),
        slow_servers=1,
        slow_s=(1.0, 2.0),
        episode_s=15.0,
        warm_up_s=0.0,
        reservoir_rule=rule,
    )
    problem, rng = Problem(config), np.random.default_rng(5)
    problem.reset([5])
    traffic.episode(config, rng)
    sight = Sight(config, 0, seed=int(rng.integers(2**63)), slow_motion=slower)
    actions = np.random.default_rng(0).integers(6, size=(config.num_steps, 1, 1, 3))
    for action in actions:
        observed, *_ = problem.step(action)
        (length,), (log,) = problem.cluster.completions()
        (number,), (ongoing,) = problem.cluster.flow_durations()
        now_s = float(problem.cluster.copies["clock_s"][0])
        completed, under_way = flows(log[:length], slower), flows(ongoing[:number], slower)
        sight.add(Seen(completed, [], under_way, slower * now_s))
        seen = sight.observation(problem.weights[0, 0])
        np.testing.assert_allclose(seen, observed[0, 0], rtol=1e-5, atol=1e-6)
    assert (seen[:, FEATURES.index("completion_rate")] > 0.1).all()


def test_a_second_balancer_says_which_it_is():
    config = replace(CONFIG, num_balancers=2)
    seen = Sight(config, 1).observation(np.ones(3))
    assert (seen[:, FEATURES.index("agent_index")] == 0.5).all()
    assert (seen[:, FEATURES.index("last_weight")] == 0.5).all()


# Who chooses -------------------------------------------------------------------------------------


def chooser(mode: Mode = ALWAYS, **options) -> Chooser:
    return Chooser(mode, Guard(Limits()), Heuristic("sed", CONFIG), **options)


def player(published_s: float = NOW_S, **options) -> Player:
    return Player(policy_file(**options), CONFIG, "lb_0", published_s)


def test_the_policy_chooses():
    chosen = chooser().choose(OBSERVATION, player(), NOW_S)
    assert (chosen.arm, chosen.reason) == ("policy", "policy")
    assert chosen.weights.tolist() == chosen.of_policy.tolist() == [2.0, 0.5, 1.0]


class Broken(Player):
    def weights(self, observation):
        raise RuntimeError("broken")


UNABLE = {
    "no_policy": lambda: {"player": None},
    "old_policy": lambda: {"player": player(NOW_S - 100.0)},
    "no_input": lambda: {"observation": None},
    "out_of_range": lambda: {"observation": OBSERVATION + 0.6},
    "error": lambda: {"player": Broken(policy_file(), CONFIG, "lb_0", NOW_S)},
}


@pytest.mark.parametrize("fallback", ["heuristic", "last"])
@pytest.mark.parametrize("reason", UNABLE)
def test_without_the_policy_there_are_weights_all_the_same(reason, fallback):
    made = chooser(oldest_policy_s=50.0, fallback=fallback)
    made.choose(OBSERVATION, player(), NOW_S)
    asked = {"observation": OBSERVATION, "player": player(), "now_s": NOW_S} | UNABLE[reason]()
    chosen = made.choose(**asked)
    assert chosen.reason == reason in REASONS
    assert chosen.of_policy is None
    expected = {"heuristic": [1.0, 1.0, 2.0], "last": [2.0, 0.5, 1.0]}[fallback]
    assert chosen.weights.tolist() == made.safe().tolist() == expected


@pytest.mark.parametrize("weights", [[np.nan, 1, 1], [0, 0, 0], [-1, 1, 1], [inf, 1, 1]])
def test_weights_that_are_none_are_not_taken(weights):
    class Odd(Player):
        def weights(self, observation):
            return np.array(weights, float)

    chosen = chooser().choose(OBSERVATION, Odd(policy_file(), CONFIG, "lb_0"), NOW_S)
    assert (chosen.reason, chosen.weights.tolist()) == ("not_finite", [1.0, 1.0, 2.0])


def test_in_shadow_mode_the_policy_is_asked_and_not_obeyed():
    chosen = chooser(Mode("shadow")).choose(OBSERVATION, player(), NOW_S)
    assert (chosen.arm, chosen.reason) == ("heuristic", "mode")
    assert chosen.weights.tolist() == [1.0, 1.0, 2.0]
    assert chosen.of_policy.tolist() == [2.0, 0.5, 1.0]


def test_all_balancers_have_the_same_stretches():
    made, found = [chooser(Mode("ab"), stretch_s=10.0) for _ in range(2)], []
    for now_s in range(0, 2_000, 5):
        reasons = {x.choose(OBSERVATION, player(now_s), float(now_s)).reason for x in made}
        assert len(reasons) == 1
        found += reasons
    assert found[::2] == found[1::2]
    assert 60 < found[::2].count("policy") < 140
    assert set(found) == {"policy", "control"}


def test_the_guard_takes_a_policy_away_that_makes_flows_slow():
    clock = SimpleNamespace(now_s=NOW_S)
    guard = Guard(Limits(), clock=lambda: clock.now_s)
    made = Chooser(Mode("ab"), guard, Heuristic("sed", CONFIG), stretch_s=1.0)
    asked = player(NOW_S)
    while not guard.alarms and clock.now_s < NOW_S + 1_000.0:
        chosen = made.choose(OBSERVATION, asked, clock.now_s)
        took_s = 0.2 if chosen.reason == "policy" else 0.02
        began_s, clock.now_s = clock.now_s, clock.now_s + 0.25
        made.learn(Seen([Flow(0, began_s, took_s)] * 20, [], [], clock.now_s), clock.now_s)
    assert (guard.why, guard.state) == ("time", "tripped")
    reasons = {made.choose(OBSERVATION, asked, clock.now_s + x).reason for x in range(20)}
    assert reasons == {"guard", "control"}


@pytest.mark.parametrize("name", NAMES)
def test_a_heuristic_sets_what_a_policy_may_set(name):
    weights = Heuristic(name, CONFIG)(OBSERVATION)
    assert weights.max() == 2.0
    assert (weights > 0.0).all()
    assert {"sed": weights[2] == 2 * weights[0], "lsq": weights[2] == weights[0]}.get(name, True)


def test_an_adaptive_heuristic_spares_the_server_whose_flows_take_long():
    observation = OBSERVATION.copy()
    observation[2, FEATURES.index("duration_discounted_mean")] = 0.9
    weights = Heuristic("adaptive_sed", CONFIG)(observation)
    assert weights[2] < weights[0] == 2.0


# The policy's file -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"cores": (2, 2)}, r"observes \(3, 14\); expected is \(2, 14\)"),
        ({"cores": (4, 2, 2)}, "trained with cores"),
        ({"num_balancers": 2}, "trained with num_balancers 1, not 2"),
        ({"weight_levels": (1.0, 2.0)}, "the policy's actions are"),
        ({"weight_levels": (0.1, 1.0, 2.0)}, "trained with weight_levels"),
        ({"action": "weights"}, "action is 'weights'"),
    ],
)
def test_a_policy_of_another_problem_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        Player(policy_file(), replace(CONFIG, **change), "lb_0")


def test_a_file_that_vanishes_or_breaks_leaves_the_policy_that_there_was(tmp_path):
    policies = Policies(tmp_path / "policy", CONFIG, "lb_0")
    policies.look()
    assert policies.player is None
    export.save(policy_file(), tmp_path / "policy")
    policies.look()
    first = policies.player
    assert first is not None

    said = tmp_path / "policy" / "policy.json"
    text = said.read_text()
    said.write_text(text[:100])
    policies.look()
    assert (policies.player, policies.refused) == (first, 1)

    said.unlink()
    policies.look()
    assert policies.player is first

    said.write_text(text)
    policies.look()
    assert policies.player not in (None, first)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("servers", ("a", "b")),
        ("servers", ("a", "b", "b")),
        ("servers", ("a", "b", "c; shutdown")),
        ("balancer", 1),
        ("policy", None),
        ("slow_motion", 0.5),
        ("preset", "none"),
        ("heuristic", "wcmp"),
        ("fallback", "none"),
        ("mode", "none"),
        ("share", 2.0),
        ("log_port", 0),
    ],
)
def test_bad_settings_are_named(field, value):
    good = {"servers": ("a", "b", "c"), "cores": (2, 2, 4), "num_balancers": 1, "policy": "p"}
    assert Settings(**good).config.cores == (2, 2, 4)
    with pytest.raises(ValueError, match=field if field != "mode" else "name"):
        Settings(**good | {field: value})
