"""What the vectorised runner promises RLlib: seeds, counts, metrics, callbacks, restarts."""

from collections import Counter

import numpy as np
import pytest
from ray.rllib.callbacks.callbacks import RLlibCallback
from toy_modules import Clock, Memory, config_of, runner_of, sample
from toys import Crashing

from marlserve.policies.sampling.runner import MIXER, VectorEnvRunner
from marlserve.policies.sampling.sequences import (
    ACTIONS,
    FIRST,
    OBS,
    Sequences,
)


@pytest.mark.parametrize("num_episodes", [1, 3, 7, 30])
def test_exactly_so_many_episodes_and_each_copy_its_share(num_episodes):
    ended = []
    config = config_of("Counting", length=9, random_length=True, num_envs=4)
    config.callbacks(on_episode_end=lambda episode, **kw: ended.append(episode))
    runner = VectorEnvRunner(config=config, worker_index=0)
    rows = sample(runner, num_episodes=num_episodes)
    assert len(ended) == num_episodes
    shares = [Counter(e.env_index for e in ended)[copy] for copy in range(4)]
    assert max(shares) - min(shares) <= 1
    assert rows[FIRST].sum() == num_episodes
    assert rows.env_steps() == sum(len(episode) for episode in ended)
    metrics = runner.get_metrics()
    assert metrics["num_episodes"].peek() == num_episodes
    assert metrics["num_env_steps_sampled"].peek() == rows.env_steps()


def numbers(rows):
    """The random numbers of the episodes that begin in these rows."""
    return rows[OBS][rows[FIRST], 0, 0, 0].tolist()


@pytest.mark.parametrize("batch_mode", ["truncate_episodes", "complete_episodes"])
def test_seeds_differ_and_do_not_return(batch_mode):
    seen = []
    for worker_index, evaluation in ((0, False), (1, False), (2, False), (1, True)):
        config = config_of("Counting").env_runners(batch_mode=batch_mode)
        config.in_evaluation = evaluation
        runner = VectorEnvRunner(config=config, worker_index=worker_index)
        for _ in range(3):
            seen += numbers(sample(runner)) + numbers(sample(runner, num_episodes=4))
    assert len(set(seen)) == len(seen)
    config = config_of("Counting").env_runners(batch_mode=batch_mode)
    again = numbers(sample(VectorEnvRunner(config=config, worker_index=0)))
    assert again == seen[: len(again)]


def test_metrics_once_per_episode_and_per_call():
    runner = runner_of("Departures", policies=("odd", "even"))
    runner.sample(num_episodes=6)
    metrics = runner.get_metrics()
    peek = {name: metrics[name].peek() for name in metrics if not isinstance(metrics[name], dict)}
    assert peek["episode_return_mean"] == 6
    assert peek["episode_len_mean"] == peek["episode_len_max"] == peek["episode_len_min"] == 3
    assert peek["num_env_steps_sampled"] == peek["num_env_steps_sampled_lifetime"] == 18
    assert peek["num_episodes_lifetime"] == 6

    def nested(name):
        return {key: value.peek() for key, value in metrics[name].items()}

    assert nested("agent_episode_returns_mean") == {"a0": 1, "a1": 2, "a2": 3}
    assert nested("agent_steps") == {"a0": 1, "a1": 2, "a2": 3}
    assert nested("module_episode_returns_mean") == {"odd": 4, "even": 2}
    assert nested("num_agent_steps_sampled") == {"a0": 6, "a1": 12, "a2": 18}
    assert nested("num_module_steps_sampled_lifetime") == {"odd": 24, "even": 12}


@pytest.mark.parametrize("arrays", [True, False])
def test_metrics_of_the_problem_are_averaged(arrays, monkeypatch):
    if not arrays:
        monkeypatch.delattr("marlserve.envs.parallel.ParallelView.make_batch")
    runner = runner_of("toy_problem:drift", limit=1000.0, num_steps=6)
    distances = []
    runner.config.callbacks_on_episode_end = lambda episode, **kw: distances.append(
        episode.metrics["distance_m"]
    )
    rows = sample(runner, num_episodes=6)
    problem = runner.get_metrics()["problem"]
    assert problem["duration_s"].peek() == 6
    assert problem["distance_m"].peek() == pytest.approx(np.mean(distances))
    ends = rows[OBS][~rows[FIRST]][:, 2, 0, 0]
    np.testing.assert_allclose(sorted(distances), sorted(abs(ends)), rtol=1e-6)


class Diary(RLlibCallback):
    """Writes down what is called."""

    def __init__(self):
        self.entries = []

    def on_environment_created(self, *, env, env_context, **kwargs):
        self.entries.append(("environment", env.num_envs))

    def on_episode_start(self, *, episode, env_index, **kwargs):
        assert len(episode) == 0
        episode.custom_data["begun"] = True
        self.entries.append(("start", episode.id_))

    def on_episode_end(self, *, episode, env, rl_module, metrics_logger, **kwargs):
        assert episode.custom_data["begun"]
        assert episode.is_done
        assert episode.get_return() == sum(episode.agent_returns.values())
        metrics_logger.log_value("mine", len(episode), window=5)
        self.entries.append(("end", episode.id_))

    def on_sample_end(self, *, samples, **kwargs):
        self.entries.append(("sample", len(samples)))


def test_callbacks():
    config = config_of("Counting", length=2, num_envs=1).callbacks(Diary)
    runner = VectorEnvRunner(config=config, worker_index=0)
    runner.sample(num_timesteps=3)
    kinds, values = zip(*runner._callbacks[0].entries, strict=True)
    assert kinds == ("environment", "start", "end", "start", "sample")
    assert values[1] == values[2] != values[3]
    assert runner.get_metrics()["mine"].peek() == 2


def test_what_is_not_run_is_refused():
    class Stepper(RLlibCallback):
        def on_episode_step(self, **kwargs):
            pass

    with pytest.raises(ValueError, match="on_episode_step"):
        VectorEnvRunner(config=config_of("Counting").callbacks(Stepper), worker_index=0)
    config = config_of("Counting").env_runners(env_to_module_connector=lambda *a, **k: [])
    with pytest.raises(ValueError, match="env_to_module_connector"):
        VectorEnvRunner(config=config, worker_index=0)


def test_explore_and_the_clock():
    config = config_of("Counting", Clock)
    config.num_env_runners = 2
    runner = VectorEnvRunner(config=config, worker_index=1)
    assert sample(runner, num_timesteps=12)[ACTIONS].all()
    assert not sample(runner, num_episodes=3, explore=False)[ACTIONS].any()
    runner.sample(num_timesteps=6, explore=True, force_reset=True)
    assert runner.module["shared"].times == (0, 6, 12, 18, 24, 30)
    runner.set_state({"num_env_steps_sampled_lifetime": 1000})
    runner.sample(num_timesteps=3)
    assert runner.module["shared"].times[-1] == 1000


def test_agent_steps_can_be_what_counts():
    runner = runner_of("Counting")
    runner.config.count_steps_by = "agent_steps"
    runner.sample(num_timesteps=24)
    assert runner.get_metrics()["num_env_steps_sampled"].peek() == 12


def test_a_copy_that_crashes_is_replaced_alone():
    Crashing.made = 0
    config = config_of("Crashing", length=6).fault_tolerance(restart_failed_sub_environments=True)
    runner = VectorEnvRunner(config=config, worker_index=0)
    broken = runner.env.envs[0]
    rows = Sequences.concatenate(
        runner.sample(num_timesteps=3 * 6) + runner.sample(num_timesteps=18)
    )
    assert broken not in runner.env.batch.envs
    metrics = runner.get_metrics()
    assert metrics["num_env_step_failures"].peek() == 1
    assert metrics["num_env_steps_dropped_lifetime"].peek() == 2
    seeds = [env.seeds[0] for env in [broken, *runner.env.batch.envs]]
    assert len(set(seeds)) == 4
    # Every episode is there from its start, without a gap, but for the one that was dropped.
    for number in set(rows[OBS][:, 0, 0, 0].tolist()):
        mine = rows.rows(rows[OBS][:, 0, 0, 0] == np.float32(number))
        assert mine[FIRST][0]
        np.testing.assert_array_equal(mine[OBS][:, 0, 0, 2], 4 * np.arange(len(mine)))


def test_a_crash_propagates_unless_restarts_are_asked_for():
    Crashing.made = 0
    with pytest.raises(RuntimeError, match="as it should"):
        runner_of("Crashing").sample()
    with pytest.raises(RuntimeError, match="as it should"):
        runner_of("toy_problem:drift", crash_at=4).sample()


def test_an_array_problem_that_crashes_is_made_anew():
    config = config_of("toy_problem:drift", num_envs=2, crash_at=4, limit=1000.0)
    config.fault_tolerance(restart_failed_sub_environments=True)
    runner = VectorEnvRunner(config=config, worker_index=0)
    runner.sample(num_timesteps=2 * 5)
    metrics = runner.get_metrics()
    assert metrics["num_env_step_failures"].peek() == 2
    assert metrics["num_env_steps_dropped_lifetime"].peek() == 2 * 3
    config = config_of("toy_problem:drift", num_envs=2, crash_at=1)
    config.fault_tolerance(restart_failed_sub_environments=True)
    with pytest.raises(RuntimeError, match="as it should"):  # not for ever
        VectorEnvRunner(config=config, worker_index=0).sample()


@pytest.mark.slow
def test_remote_runner(ray_session):
    import ray

    remote = ray.remote(num_cpus=1)(VectorEnvRunner).remote(
        config=config_of("toy_problem:drift", Memory), worker_index=1
    )
    (there,) = ray.get(remote.sample.remote(num_episodes=6))
    here = sample(runner_of("toy_problem:drift", Memory, worker_index=1), num_episodes=6)
    for name, column in here.columns.items():
        np.testing.assert_array_equal(column, there[name], err_msg=name)
    assert ray.get(remote.get_spaces.remote())[MIXER][0].shape == (1,)
    ray.kill(remote)
