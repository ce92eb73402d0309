"""QMIX as an RLlib algorithm: evaluation, Tune, several policies, agents that leave, crashes."""

import pytest
import ray
from ray import tune

from marlserve.policies import qmix
from marlserve.policies.sampling.multi_agent_env import PettingZooEnv
from marlserve.policies.sampling.runner import MIXER

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("ray_session")]


def small(toy, **training):
    settings = {
        "hidden_size": 8,
        "learning_starts": 20,
        "train_batch_size_per_learner": 8,
        "replay_capacity": 100,
        "epsilon": 0.5,
    }
    return (
        qmix.config(**settings | training)
        .environment(PettingZooEnv, env_config={"maker": f"toys:{toy}"})
        .env_runners(num_envs_per_env_runner=4)
        .debugging(seed=0)
    )


def everyone_but_a0(agent_id, episode=None, **kwargs):
    return "first" if agent_id == "a0" else "others"


@pytest.mark.parametrize("mixer", ["qmix", "vdn", "none"])
@pytest.mark.parametrize("toy", ["Recall", "Departures", "Dials", "Counting"])
def test_every_mixer_trains_on_every_kind_of_problem(toy, mixer):
    algorithm = small(toy, mixer=mixer).build_algo()
    for _ in range(3):
        result = algorithm.train()
    algorithm.stop()
    losses = result["learners"][MIXER]
    assert all(losses[name] > 0 for name in ("total_loss", "td_error_abs", "gradients_global_norm"))
    assert result["env_runners"]["episode_len_mean"] > 0


def test_policies_may_be_shared_by_some_agents():
    config = small("Departures").multi_agent(
        policies={"first", "others"}, policy_mapping_fn=everyone_but_a0
    )
    algorithm = config.build_algo()
    before = {name: algorithm.get_module(name).get_state() for name in ("first", "others")}
    for _ in range(3):
        algorithm.train()
    for name, state in before.items():
        after = algorithm.get_module(name).get_state()
        assert (after["network.head.weight"] != state["network.head.weight"]).any()
    algorithm.stop()


def test_an_idle_policy_is_refused():
    config = small("Recall").multi_agent(
        policies={"first", "others", "nobody"}, policy_mapping_fn=everyone_but_a0
    )
    with pytest.raises(ValueError, match=r"policies \['nobody'\] play for no agent"):
        config.build_algo()


def test_evaluation_is_greedy():
    config = small("TwoStep", epsilon=1.0).evaluation(
        evaluation_interval=1, evaluation_duration=20, evaluation_num_env_runners=1
    )
    algorithm = config.build_algo()
    for _ in range(2):
        result = algorithm.train()["evaluation"]["env_runners"]
    algorithm.stop()
    # The game has no chance moves: greedy players repeat themselves, random ones do not.
    assert result["num_episodes"] == 20
    assert result["episode_return_min"] == result["episode_return_max"]


def test_a_killed_runner_is_replaced_and_plays_what_was_learned():
    config = small("Recall", lr=0.01).env_runners(num_env_runners=2)
    algorithm = config.fault_tolerance(restart_failed_env_runners=True).build_algo()
    for _ in range(4):
        algorithm.train()
    group = algorithm.env_runner_group
    ray.kill(next(iter(group._worker_manager.actors().values())), no_restart=False)
    for _ in range(60):
        algorithm.train()
        if group.num_remote_worker_restarts() and group.num_healthy_remote_workers() == 2:
            break
    algorithm.train()
    versions = group.foreach_env_runner(lambda runner: runner._weights_seq_no)
    algorithm.stop()
    assert len(versions) == 3
    assert min(versions) > 0  # none plays its random first weights


def test_tune_compares_mixers(tmp_path):
    config = small("TwoStep").training(mixer=tune.grid_search(["qmix", "vdn"]))
    results = tune.Tuner(
        config.algo_class,
        param_space=config,
        run_config=tune.RunConfig(
            storage_path=str(tmp_path),
            stop={"training_iteration": 2},
            verbose=0,
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=True),
        ),
    ).fit()
    assert not results.errors
    assert {result.config["mixer"] for result in results} == {"qmix", "vdn"}
    for result in results:
        assert result.metrics["training_iteration"] == 2
        assert result.checkpoint is not None
