"""What a checkpoint promises: the same policy everywhere, and training that goes on."""

import numpy as np
import pytest
from ray.rllib.algorithms.algorithm import Algorithm
from recalling import recall
from states import assert_same

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("ray_session")]


def learner_state(algorithm):
    """Everything that the learners know, of the first learner, with all learners compared."""
    states = [
        result.get()
        for result in algorithm.learner_group.foreach_learner(
            lambda learner: {
                "weights": learner.module.get_state(),
                "optimizer": learner._get_optimizer_state(),
                "num_updates": learner._num_updates,
            }
        ).result_or_errors
    ]
    for state in states[1:]:
        assert_same(state["weights"], states[0]["weights"])
    return states[0]


def runner_weights(algorithm):
    """The policies' weights in all env runners, local, remote and of evaluation."""
    groups = [algorithm.env_runner_group, algorithm.eval_env_runner_group]
    return [
        weights
        for group in groups
        if group is not None
        for weights in group.foreach_env_runner(lambda runner: runner.module.get_state())
    ]


def assert_runners_play(algorithm, weights, expected_runners):
    everywhere = runner_weights(algorithm)
    assert len(everywhere) == expected_runners
    for found in everywhere:
        assert found.keys() == weights.keys() - {"__mixer__"}
        for module_id, state in found.items():
            for key, value in state.items():
                np.testing.assert_array_equal(value, weights[module_id][key])


@pytest.mark.timeout(600)  # twice four processes start
@pytest.mark.parametrize(
    ("num_env_runners", "num_learners"),
    [(0, 0), (2, 2)],
)
def test_training_goes_on_where_it_was_saved(num_env_runners, num_learners, tmp_path):
    algorithm = recall(num_env_runners, num_learners).build_algo()
    for _ in range(6):
        result = algorithm.train()
    algorithm.save_to_path(tmp_path)
    saved, replay = learner_state(algorithm), algorithm.replay.get_state()
    rewards = algorithm.reward_standardizer.get_state()
    steps = result["env_runners"]["num_env_steps_sampled_lifetime"]
    drawn = algorithm.replay.sample(5).columns
    algorithm.stop()
    assert saved["num_updates"] > 4
    assert steps > 0

    restored = Algorithm.from_checkpoint(str(tmp_path))
    assert_runners_play(restored, saved["weights"], 2 + num_env_runners)
    assert_same(learner_state(restored), saved)
    assert_same(restored.replay.get_state(), replay)
    assert_same(restored.replay.sample(5).columns, drawn)
    assert restored.reward_standardizer.get_state() == rewards
    clocks = restored.env_runner_group.foreach_env_runner(
        lambda runner: runner.num_env_steps_sampled_lifetime
    )
    assert clocks == [steps] * len(clocks)  # exploration goes on along its schedule
    result = restored.train()
    assert result["training_iteration"] == 7
    per_iteration = steps / 6
    assert result["env_runners"]["num_env_steps_sampled_lifetime"] == steps + per_iteration
    assert learner_state(restored)["num_updates"] == saved["num_updates"] + 3
    restored.stop()


def test_an_earlier_checkpoint_reaches_runners_that_are_ahead(tmp_path):
    algorithm = recall(num_env_runners=1).build_algo()
    for _ in range(4):
        algorithm.train()
    algorithm.save_to_path(tmp_path)
    saved = learner_state(algorithm)["weights"]
    for _ in range(4):
        algorithm.train()
    algorithm.restore_from_path(str(tmp_path))
    assert_runners_play(algorithm, saved, 3)
    algorithm.train()
    assert_runners_play_soon(algorithm)
    algorithm.stop()


def assert_runners_play_soon(algorithm):
    """Weights are sent without waiting: another round trip, and the runners have newer ones."""
    before = runner_weights(algorithm)[1]["shared"]
    algorithm.train()
    algorithm.train()
    after = runner_weights(algorithm)[1]["shared"]
    assert any((before[key] != after[key]).any() for key in before)


def test_the_replay_is_left_out_if_so_asked(tmp_path):
    algorithm = recall(store_buffer_in_checkpoints=False).build_algo()
    for _ in range(4):
        algorithm.train()
    algorithm.save_to_path(tmp_path)
    algorithm.stop()
    restored = Algorithm.from_checkpoint(str(tmp_path))
    assert len(restored.replay) == 0
    for _ in range(3):
        restored.train()
    restored.stop()
