"""The settings of QMIX, and the algorithms by name."""

import pytest

from marlserve import policies
from marlserve.policies import qmix
from marlserve.policies.sampling.multi_agent_env import PettingZooEnv


@pytest.mark.parametrize(
    ("training", "message"),
    [
        ({"mixer": "qtran"}, "mixer is 'qtran'; allowed are"),
        ({"network": "deep"}, "network is 'deep'; allowed are"),
        ({"td_lambda": 1.5}, "td_lambda is 1.5"),
        ({"tau": 0.0}, "tau is 0.0"),
        ({"gamma": -0.1}, "gamma is -0.1"),
        ({"epsilon": 2.0}, "epsilon is 2.0"),
        ({"epsilon": [[5, 1.0], [9, 0.0]]}, "first timestep must be 0"),
        ({"burn_in": 16}, "burn_in is 16"),
        ({"hidden_size": 0}, "hidden_size is 0"),
        ({"sequence_length": 2.5}, "sequence_length is 2.5"),
        ({"updates_per_step": 0}, "updates_per_step is 0"),
        ({"updates_per_step": 1.5}, "updates_per_step is 1.5; it must be 'auto', or an integer"),
        ({"updates_per_step": "many"}, "updates_per_step is 'many'"),
    ],
)
def test_bad_settings_are_refused(training, message):
    with pytest.raises(ValueError, match=message):
        qmix.config(**training).validate()


def test_unknown_names_are_refused():
    with pytest.raises(ValueError, match="there is no algorithm 'qmux'"):
        policies.config("qmux")
    with pytest.raises(ValueError, match="there is no problem"):
        policies.config("qmix", problem="chess")
    with pytest.raises(ValueError, match="no problem is named"):
        policies.config("qmix", env_config={"num_servers": 3})
    with pytest.raises(ValueError, match="no setting .*mixr"):
        policies.config("qmix", mixr="vdn")


def test_an_algorithm_is_a_module_with_a_config():
    assert "qmix" in policies.names()
    assert not {"base", "checkpoint", "qmix_learner", "session"} & set(policies.names())


@pytest.mark.parametrize(
    ("num_envs", "num_env_runners", "fragment", "updates"),
    [(1, 0, "auto", 1), (32, 0, "auto", 32), (8, 2, "auto", 16), (4, 0, 64, 16), (1, 0, 8, 1)],
)
def test_there_is_an_update_for_each_rows_worth_of_steps(
    num_envs, num_env_runners, fragment, updates
):
    config = qmix.config(sequence_length=16).env_runners(
        num_envs_per_env_runner=num_envs,
        num_env_runners=num_env_runners,
        rollout_fragment_length=fragment,
    )
    assert config.get_updates_per_step() == updates
    assert config.training(updates_per_step=3).get_updates_per_step() == 3


@pytest.mark.parametrize("algorithm", ["dqn", "qmix", "sac"])
@pytest.mark.parametrize("num_envs", [1, 4])
def test_the_number_of_copies_does_not_change_how_often_it_updates(
    algorithm, num_envs, ray_session
):
    """As its settings are, but for sizes: 96 steps are sampled, and learned from from the 24th."""
    config = (
        policies.config(
            algorithm, sequence_length=6, learning_starts=24, train_batch_size_per_learner=2
        )
        .environment(PettingZooEnv, env_config={"maker": "toys:Counting", "kwargs": {"length": 6}})
        .env_runners(num_envs_per_env_runner=num_envs)
    )
    trained = config.build_algo()
    for _ in range(96 // (6 * num_envs)):
        trained.training_step()
    (updates,) = trained.learner_group.foreach_learner(lambda x: x._num_updates).result_or_errors
    trained.stop()
    assert abs(updates.get() - (96 - 24) / 6) <= num_envs
