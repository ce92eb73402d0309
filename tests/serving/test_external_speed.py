"""What is measured of many clients adds up."""

import pytest

from marlserve.serving.client.bare import Task
from marlserve.serving.trainer.speed import crowd
from marlserve.serving.trainer.speed.__main__ import run

pytestmark = pytest.mark.timeout(600)


@pytest.mark.slow
@pytest.mark.parametrize("when_full", ["drop", "wait"])
def test_no_step_of_many_clients_is_lost_uncounted(when_full):
    row = crowd.of_clients(6, when_full, 3.0)
    assert row.clients == 6
    assert row.uncounted == 0
    assert row.learned + row.on_its_way + sum(row.lost.values()) >= 1.0 - 1e-9
    assert 0 < row.queued_most <= row.capacity
    if when_full == "wait":
        assert "full" not in row.lost
        assert row.learned + row.on_its_way >= 0.9


def test_the_last_reward_is_told_before_the_episode_ends():
    env, told = Task(0), []
    while "end" not in told:
        env.step(0, told.append, lambda *how: told.append("end"))
    assert told == [1.0] * (len(told) - 1) + ["end"]
    assert len(env.seen) == 4


def test_a_time_that_is_none_is_refused():
    with pytest.raises(ValueError, match="seconds is 0.0; allowed is a positive number"):
        run(0.0)
