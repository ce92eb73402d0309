"""The guard's errors are what is said, by simulation; and it does what it says."""

import numpy as np
import pytest

from marlserve.serving.decisions.evidence import Evidence
from marlserve.serving.decisions.guard import HEURISTIC, POLICY, Guard, Limits

EVERY = 50.0  # pairs; few, so that there are false alarms to count
MARGIN = 0.05
NO_WORSE = {  # by the margin exactly, which is the worst that is no alarm
    "rare failures": lambda rng, n: (rng.random(n) < 0.06) - 1.0 * (rng.random(n) < 0.01),
    "even chances": lambda rng, n: (rng.random(n) < 0.55) - 1.0 * (rng.random(n) < 0.5),
    "times": lambda rng, n: rng.beta(2, 8, n) + MARGIN - rng.beta(2, 8, n),
    "one in a hundred": lambda rng, n: 1.0 * (rng.random(n) < MARGIN),
    "seldom and much": lambda rng, n: np.where(rng.random(n) < 0.525, 1.0, -1.0),
}
WORSE = {
    "no answers": lambda rng, n: np.ones(n) - (rng.random(n) < 0.01),
    "a tenth fails": lambda rng, n: (rng.random(n) < 0.1) - 1.0 * (rng.random(n) < 0.01),
    "half as slow again": lambda rng, n: rng.beta(3, 7, n) - rng.beta(2, 8, n),
}


def first_alarm(differences, every: float) -> float:
    """After how many pairs; infinite if there is none."""
    evidence = Evidence(MARGIN, every)
    for count, difference in enumerate(differences, 1):
        evidence.add(float(difference))
        if evidence.is_alarm:
            return count
    return np.inf


@pytest.mark.slow
@pytest.mark.parametrize("case", NO_WORSE)
def test_false_alarms_are_as_rare_as_said(case):
    rng = np.random.default_rng(0)
    times = np.array([first_alarm(NO_WORSE[case](rng, 1000), EVERY) for _ in range(250)])
    assert np.minimum(times, 1000).mean() >= EVERY
    for within in (5, 10, 25):
        share = (times <= within).mean()
        assert share <= within / EVERY + 3 * np.sqrt(within / EVERY / len(times))


@pytest.mark.parametrize("case", WORSE)
def test_true_alarms_come_about_as_soon_as_if_one_knew_how_bad_it_is(case):
    rng = np.random.default_rng(1)
    excess = WORSE[case](rng, 10_000) - MARGIN
    stakes = np.linspace(0.01, 0.9, 90) / (1 + MARGIN)
    fastest = max(np.log1p(stake * excess).mean() for stake in stakes)  # growth of the wealth
    times = [first_alarm(WORSE[case](rng, 5000), 40_000.0) for _ in range(40)]
    # One of four gamblers makes the mean c by having 4 c.
    assert np.median(times) <= 1.25 * np.log(4 * 40_000.0) / fastest + 10


def test_good_times_do_not_hide_a_change():
    rng, bad = np.random.default_rng(2), WORSE["no answers"]
    good = -1.0 * (rng.random(5000) < 0.1)
    alone = first_alarm(bad(rng, 200), 40_000.0)
    assert first_alarm(np.concatenate([good, bad(rng, 200)]), 40_000.0) <= 5000 + 2 * alone


@pytest.mark.parametrize("wrong", [(-0.1, 100.0), (1.0, 100.0), (0.1, 1.0), (0.1, np.nan)])
def test_evidence_is_asked_for_something_possible(wrong):
    with pytest.raises(ValueError, match="allowed is"):
        Evidence(*wrong)


@pytest.mark.parametrize("wrong", [1.1, -1.1, np.nan])
def test_a_difference_has_bounds(wrong):
    with pytest.raises(ValueError, match="difference is"):
        Evidence(0.0, 100.0).add(wrong)


class Traffic:
    """Requests of both arms, one a second, at a share of the policy's."""

    def __init__(self, seed: int = 0, **limits):
        self.now_s, self.rng = 0.0, np.random.default_rng(seed)
        self.guard = Guard(Limits(**limits), clock=lambda: self.now_s)

    def play(self, count: int, fails: float = 0.0, slower: float = 1.0) -> bool:
        """Whether there was an alarm within so many requests, which then end."""
        for _ in range(count):
            self.now_s += 1.0
            is_policy = self.rng.random() < self.guard.share(0.5)
            e2e_s = self.rng.lognormal(-1.0, 0.5) * (slower if is_policy else 1.0)
            failed = bool(is_policy and self.rng.random() < fails)
            arm = POLICY if is_policy else HEURISTIC
            if self.guard.add(arm, e2e_s, failed, self.now_s):
                return True
        return False


def test_a_policy_that_is_as_good_is_left_alone():
    traffic = Traffic()
    assert not traffic.play(4000)
    assert not traffic.play(4000, slower=0.7)
    assert (traffic.guard.state, traffic.guard.share(0.95)) == ("trusted", 0.95)


@pytest.mark.parametrize(
    ("worse", "why"),
    [({"fails": 0.5}, "failures"), ({"slower": 3.0}, "time"), ({"slower": 100.0}, "time")],
)
def test_a_worse_one_loses_its_requests_at_once_and_may_try_again(worse, why):
    traffic = Traffic(probation_pairs=100)
    guard = traffic.guard
    traffic.play(500)
    assert traffic.play(1000, **worse)
    assert (guard.state, guard.why, guard.alarms) == ("tripped", why, 1)
    assert guard.share(0.95) == 0.0
    traffic.now_s += 59.0
    assert guard.state == "tripped"
    traffic.now_s += 2.0
    assert (guard.state, guard.share(0.95), guard.share(0.05)) == ("probation", 0.1, 0.05)
    assert not traffic.play(2500)
    assert (guard.state, guard.share(0.95)) == ("trusted", 0.95)


def test_the_back_off_doubles_until_a_policy_has_come_through():
    traffic = Traffic(probation_pairs=100)
    guard, waits = traffic.guard, []
    for _ in range(8):
        traffic.play(200)
        assert traffic.play(3000, fails=1.0)
        start_s = traffic.now_s
        while guard.state == "tripped":
            traffic.now_s += 1.0
        waits.append(traffic.now_s - start_s)
    assert waits == [60.0, 120.0, 240.0, 480.0, 960.0, 1920.0, 3600.0, 3600.0]
    assert not traffic.play(5000)
    assert traffic.play(1000, fails=1.0)
    traffic.now_s += 61.0
    assert guard.state == "probation"


def test_what_was_decided_before_an_alarm_does_not_count_after_it():
    traffic = Traffic()
    assert traffic.play(1000, fails=1.0)
    before_s = traffic.now_s
    traffic.now_s += 61.0
    for _ in range(500):
        assert not traffic.guard.add(POLICY, 1.0, True, before_s)
        assert not traffic.guard.add(HEURISTIC, 0.1, False, before_s)
    assert traffic.guard.state == "probation"


def test_limits_are_checked():
    for name, wrong in (("retry_share", 1.5), ("longest_backoff_s", 1.0), ("probation_pairs", 0)):
        with pytest.raises(ValueError, match=f"{name} is"):
            Limits(**{name: wrong})
