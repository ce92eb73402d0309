"""Who decides what and why, with which chance; and a heuristic that is always there."""

import time
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from serving_cases import OBSERVATION, player, policy_file, question

from marlserve.serving.decisions.decider import Decider
from marlserve.serving.decisions.decision import REASONS, Settings
from marlserve.serving.decisions.guard import Guard, Limits
from marlserve.serving.decisions.modes import SHARES, Mode
from marlserve.serving.decisions.player import Player, chances
from marlserve.serving.experience.events import new_ids

ALL = Mode("policy", share=1.0)
NOW_S = 1000.0


def decider(mode=ALL, policy=(0.0, 0.5, 1.0), **settings) -> Decider:
    made = Decider(
        Settings(mode, **settings), Guard(Limits()), new_ids(), seed=0, now=lambda: NOW_S
    )
    made.player = None if policy is None else player(policy, published_s=NOW_S - 10.0)
    return made


def test_the_policy_decides_and_says_how():
    decision = decider().decide(question())
    assert (decision.arm, decision.reason, decision.version) == ("policy", "policy", "1")
    assert (decision.action, decision.policy_action, decision.propensity) == (2, 2, 1.0)
    assert decision.values == [0.0, 0.5, 1.0]
    assert not decision.explored


def unable(reason: str) -> tuple[Decider, dict]:
    """A decider whose policy is to decide, a question, and why it cannot."""
    made, asked = decider(), {}
    if reason == "no_policy":
        made = decider(policy=None)
    elif reason == "old_policy":
        made = decider(oldest_policy_s=5.0)
    elif reason == "replica_count":
        asked = {"requests": (5, 3, 7, 9)}
    elif reason == "no_input":
        asked = {"observation": None}
    elif reason == "out_of_range":
        asked = {"observation": OBSERVATION + 0.6}
    elif reason == "not_finite":
        made.player = player([0.0, 0.0, 0.0], slope=3e38)
    elif reason == "deadline":
        made.decide(question())
        asked = {"deadline_s": time.perf_counter()}
    elif reason == "error":
        made.player.values = lambda observation: 1 / 0
    else:
        raise ValueError(reason)
    return made, asked


@pytest.mark.parametrize("reason", REASONS[REASONS.index("no_policy") :])
def test_the_heuristic_decides_where_the_policy_cannot(reason):
    made, asked = unable(reason)
    decision = made.decide(question(**asked))
    assert (decision.reason, decision.arm, decision.action) == (reason, "policy", 1)
    assert (decision.version, decision.policy_action, decision.values) == ("", -1, None)
    assert not decision.explored


def test_one_slow_answer_does_not_silence_the_policy_for_good():
    made = decider()
    ask = made.player.values
    made.player.values = lambda observation: time.sleep(0.2) or ask(observation)
    made.decide(question())
    made.player.values = ask
    reasons = [
        made.decide(question(deadline_s=time.perf_counter() + 0.1)).reason for _ in range(1000)
    ]
    assert reasons[0] == "deadline"
    assert "policy" in reasons


def test_a_policy_that_raises_says_so_once(caplog):
    made = decider()
    made.player.values = lambda observation: 1 / 0
    assert {made.decide(question()).reason for _ in range(10)} == {"error"}
    assert caplog.text.count("policy 1 raised an error") == 1


@pytest.mark.parametrize("bad", [np.nan, np.inf, -0.1])
def test_one_bad_number_is_enough(bad):
    observation = OBSERVATION.copy()
    observation[7] = bad
    assert decider().decide(question(observation=observation)).reason == "out_of_range"


def test_in_shadow_the_policy_speaks_and_the_heuristic_acts():
    decision = decider(Mode("shadow")).decide(question())
    assert (decision.arm, decision.reason, decision.action) == ("heuristic", "mode", 1)
    assert (decision.version, decision.policy_action) == ("1", 2)
    alone = decider(Mode("heuristic")).decide(question())
    assert (alone.reason, alone.version, alone.policy_action) == ("mode", "", -1)


@pytest.mark.parametrize("mode", SHARES)
def test_the_policy_has_its_share_of_the_sessions(mode):
    made = decider(Mode(mode))
    arms = Counter(made.decide(question(session=f"user {i}")).arm for i in range(4000))
    assert abs(arms["policy"] / 4000 - SHARES[mode]) < 4 * np.sqrt(0.25 / 4000)
    if not SHARES[mode]:
        assert arms["policy"] == 0


def test_a_session_stays_where_it_is():
    made = decider(Mode("ab"))
    for i in range(50):
        arms = {made.decide(question(session=f"user {i}")).arm for _ in range(5)}
        assert len(arms) == 1
    other = decider(Mode("ab", salt="another experiment"))
    moved = [
        made.decide(question(session=str(i))).arm != other.decide(question(session=str(i))).arm
        for i in range(200)
    ]
    assert 50 < sum(moved) < 150


def test_after_an_alarm_the_next_decision_is_the_heuristics():
    made, now_s = decider(), time.monotonic()
    for _ in range(1000):
        made.guard.add("heuristic", 0.1, False, now_s)
        assert made.decide(question()).reason == "policy"
        if made.guard.add("policy", 0.1, True, now_s):
            break
    assert made.decide(question()).reason == "guard"


def test_what_is_not_allowed_gets_nothing():
    for mode in SHARES:
        made = decider(Mode(mode), policy=(9.0, 0.5, 1.0), epsilon=1.0, most_epsilon=1.0)
        asked = question(allowed=[False, True, True])
        assert {made.decide(asked).action for _ in range(200)} <= {1, 2}
    nobody = question(allowed=[False] * 3)
    assert decider().decide(nobody).action == 2


def test_exploration_has_its_bound_and_says_so():
    made = decider(epsilon=1.0, most_epsilon=0.3)
    decisions = [made.decide(question()) for _ in range(6000)]
    actions = Counter(decision.action for decision in decisions)
    for action, chance in enumerate((0.1, 0.1, 0.8)):
        assert abs(actions[action] / 6000 - chance) < 4 * np.sqrt(chance * (1 - chance) / 6000)
    for decision in decisions:
        assert decision.explored == (decision.action != 2)
        assert decision.propensity == pytest.approx(0.8 if decision.action == 2 else 0.1)


@given(
    values=st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=6),
    epsilon=st.floats(0.0, 1.0),
    temperature=st.sampled_from([0.0, 1e-3, 1.0, 1e3]),
    data=st.data(),
)
def test_chances_are_bounded(values, epsilon, temperature, data):
    allowed = data.draw(st.lists(st.booleans(), min_size=len(values), max_size=len(values)))
    allowed[0] = True
    shares, best = chances(values, allowed, epsilon, temperature)
    assert sum(shares) == pytest.approx(1.0)
    assert all(share == 0.0 for share, legal in zip(shares, allowed, strict=True) if not legal)
    assert values[best] == max(v for v, legal in zip(values, allowed, strict=True) if legal)
    assert 1.0 - shares[best] <= epsilon + 1e-9
    assert min(shares) >= 0.0


def test_a_softmax_is_one_within_the_bound():
    shares, best = chances([1.0, 2.0, 3.0], [True] * 3, 1.0, temperature=2.0)
    expected = np.exp([0.5, 1.0, 1.5]) / np.exp([0.5, 1.0, 1.5]).sum()
    np.testing.assert_allclose(shares, expected)
    assert best == 2


def test_ids_are_each_ones_own():
    made, other = decider(), decider()
    ids = [one.decide(question()).id for one in (made, other) for _ in range(500)]
    assert len({*ids}) == 1000


def test_a_player_refuses_what_it_cannot_play():
    file = policy_file([0.0, 1.0])
    with pytest.raises(ValueError, match="no policy"):
        Player(type(file)(file.networks, {"someone": "shared"}), "1")
    made = player([0.0, 1.0])
    with pytest.raises(ValueError, match="shape"):
        made.values(np.zeros(3, np.float32))
    with pytest.raises(ValueError, match=r"allowed has shape \(2,\); expected is \(3,\)"):
        decider().decide(question(allowed=[True, True]))


def test_values_are_the_outputs_of_the_network():
    made = player([0.25, -1.0], slope=0.125)
    values = made.values(OBSERVATION)
    made.values(0 * OBSERVATION)  # which changes them no more
    np.testing.assert_allclose(values, [0.25 + 0.625, -1.0 + 0.625])


@pytest.mark.parametrize("wrong", [{"epsilon": 1.5}, {"most_epsilon": -0.1}, {"temperature": -1.0}])
def test_settings_are_checked(wrong):
    (name,) = wrong
    with pytest.raises(ValueError, match=f"{name} is"):
        Settings(**wrong)


def test_modes_are_checked():
    for wrong in ({"name": "both"}, {"share": 1.5}, {"name": "shadow", "share": 0.5}):
        with pytest.raises(ValueError, match="allowed is"):
            Mode(**wrong)
