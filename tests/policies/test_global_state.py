"""The global state is asked for only where an algorithm reads it, and only while there is one."""

import numpy as np
import pytest
from toy_modules import config_of, sample
from toy_states import Mortal

from marlserve import policies
from marlserve.policies.sampling.multi_agent_env import ParallelMultiAgentEnv, PettingZooEnv
from marlserve.policies.sampling.runner import VectorEnvRunner
from marlserve.policies.sampling.sequences import LENGTH, STATE, TERMINATED


def rows_of(maker, needs_state, **kwargs):
    config = config_of(maker, **kwargs)
    config.needs_state = needs_state
    return sample(VectorEnvRunner(config=config, worker_index=0), num_episodes=6)


def test_an_environment_without_a_working_state_is_sampled():
    assert STATE not in rows_of("toy_states:Stateless", needs_state=False)
    with pytest.raises(RuntimeError, match="no state"):
        rows_of("toy_states:Stateless", needs_state=True)


@pytest.mark.parametrize("terminates", [True, False])
def test_a_terminated_episode_is_not_asked(terminates):
    """A truncated one is: the values of what follows are learned from it."""
    rows = rows_of("toy_states:Mortal", needs_state=True, length=3, terminates=terminates)
    assert rows[TERMINATED].all() == terminates
    np.testing.assert_array_equal(rows[LENGTH], 3)
    last = 2 if terminates else 3
    np.testing.assert_array_equal(rows[STATE][:, : last + 1, 0], [range(last + 1)] * 6)


def test_the_state_in_the_infos_of_rllibs_own_runner():
    env = ParallelMultiAgentEnv(Mortal(length=2, terminates=True))
    _, infos = env.reset(seed=1)
    assert infos["a0"]["state"] == 0
    _, _, _, _, infos = env.step({"a0": 0, "a1": 0})
    assert infos["a0"]["state"] == 1
    _, _, terminateds, _, infos = env.step({"a0": 0, "a1": 0})
    assert terminateds["__all__"]
    assert "state" not in infos["a0"]


@pytest.mark.parametrize(
    ("name", "settings", "asks"),
    [
        ("qmix", {"mixer": "qmix"}, True),
        ("qmix", {"mixer": "vdn"}, False),
        ("qmix", {"mixer": "none"}, False),
        ("sac_gru", {}, False),
        ("ppo", {}, False),
    ],
)
def test_which_algorithms_read_it(name, settings, asks):
    assert policies.config(name, **settings).needs_state == asks


@pytest.mark.parametrize("mixer", ["vdn", "none"])
def test_learners_without_a_mixing_network_need_no_state(ray_session, mixer):
    settings = {"learning_starts": 16, "train_batch_size_per_learner": 4, "sequence_length": 4}
    algorithm = (
        policies.config("qmix", mixer=mixer, **settings)
        .environment(PettingZooEnv, env_config={"maker": "toy_states:Stateless"})
        .env_runners(num_envs_per_env_runner=4, rollout_fragment_length=8)
    ).build_algo()
    before = algorithm.get_module("shared").get_state()
    algorithm.train()
    after = algorithm.get_module("shared").get_state()
    assert any(np.any(after[key] != before[key]) for key in before)
    algorithm.stop()


@pytest.mark.parametrize("needs_state", [True, False])
def test_walkers_that_fall(needs_state):
    """Their state() raises after an episode that ended by a fall."""
    pytest.importorskip("Box2D")
    config = config_of("pettingzoo.sisl.multiwalker_v9:parallel_env", num_envs=1)
    config.needs_state = needs_state
    runner = VectorEnvRunner(config=config, worker_index=0)
    rows = sample(runner, num_episodes=2, random_actions=True)
    assert rows[TERMINATED].sum() == 2
    assert (STATE in rows) == needs_state
