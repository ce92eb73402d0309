"""What holds for every problem: its parts, and our contract of arrays, seeds and policies."""

import pickle
import re
import subprocess
import sys

import numpy as np
import pytest
import supersuit
from playing import SEEDS, advance, assert_same, play, sampled
from ray.rllib.env.multi_agent_env_runner import MultiAgentEnvRunner
from toy_modules import ToyConfig

from marlserve import envs
from marlserve.envs.parallel import ParallelView

every_problem = pytest.mark.parametrize("name", envs.names())


# Names -------------------------------------------------------------------------------------------


def test_names_are_the_modules():
    assert "load_balance" in envs.names()
    assert not {"base", "sims"} & set(envs.names())


def test_unknown_problems_and_settings_are_errors():
    with pytest.raises(ValueError, match=r"there is no problem 'sims'; there are .*load_balance"):
        envs.make("sims")
    with pytest.raises(TypeError, match="colour"):
        envs.make(envs.names()[0], colour="red")
    for num_envs in (0, 1.5, "2"):
        with pytest.raises(ValueError, match=f"num_envs is {num_envs!r}; it must be at least 1"):
            envs.make_batch(envs.names()[0], num_envs)


@every_problem
def test_a_problem_has_its_parts(name):
    module = envs.module(name)
    assert module.Config() == module.Config()
    with pytest.raises(AttributeError):  # frozen
        module.Config().reward = "none"
    assert module.Config().reward in module.REWARDS
    assert module.BASELINES
    assert module.PRESETS
    assert all(isinstance(preset, module.Config) for preset in module.PRESETS.values())


@every_problem
def test_the_manual_has_its_six_lines_in_order(name):
    lines = envs.module(name).__doc__.splitlines()
    labels = [line.split()[0] for line in lines if re.match(r"[A-Z][a-z]+ {2,}\S", line)]
    assert labels == ["Agents", "Observation", "Action", "Reward", "Episode", "Reference"]
    problem, manual = envs.make_batch(name), " ".join(lines)
    assert problem.agents[0] in manual
    seen = re.search(r"Observation +(\[.*?\]) float32 in \[(-?\d), (\d)\]", manual)
    shape, low, high = seen.groups()
    space = problem.observation_space
    assert len(shape.split(",")) == len(space.shape)
    for size, given in zip(space.shape, re.findall(r"\w+", shape), strict=True):
        assert not given.isdecimal() or int(given) == size
    assert (space.low == float(low)).all()
    assert (space.high == float(high)).all()
    assert re.search(rf"Action .*{type(problem.action_space).__name__}.* Reward ", manual)


@every_problem
def test_a_batch_tells_what_it_is(name):
    problem = envs.make_batch(name, 3)
    shown = repr(problem)
    assert shown.startswith(f"{name}(3 copies, {len(problem.agents)} agents, observation Box")
    assert str(problem.observation_space.shape) in shown
    assert type(problem.action_space).__name__ in shown
    assert "=" not in shown.replace("shape=", ""), "defaults are not told"


def test_settings_that_are_no_defaults_are_told():
    assert repr(envs.make_batch("load_balance", 2, num_balancers=3, reward="latency")) == (
        "load_balance(2 copies, 3 agents, observation Box(7, 14), "
        "action MultiDiscrete(6, shape=(7,)), num_balancers=3, reward='latency')"
    )
    assert repr(envs.make("kv_cache", num_servers=5)) == "kv_cache_v0(num_servers=5)"


# Episodes ----------------------------------------------------------------------------------------


@every_problem
def test_an_episode_ends_for_all_and_gives_its_metrics(name):
    env = envs.make(name)
    env.reset(seed=1)
    assert env.agents == env.possible_agents
    assert env.metadata["name"] == f"{name}_v0"
    for agent in env.agents:
        assert env.observation_space(agent) is env.observation_space(agent)
        assert env.action_space(agent) is env.action_space(agent)
    while env.agents:
        assert env.state().shape == env.state_space.shape
        actions = {agent: env.action_space(agent).sample() for agent in env.agents}
        _, rewards, terminations, truncations, infos = env.step(actions)
        assert all(type(reward) is float for reward in rewards.values())
    assert set(rewards) == set(infos) == set(env.possible_agents)
    for agent in env.possible_agents:
        assert terminations[agent] or truncations[agent]
        assert infos[agent]["metrics"] == env.metrics()
    assert all(np.isfinite(value) for value in env.metrics().values())
    with pytest.raises(ValueError, match=r"expected \[\]"):
        env.step(actions)
    with pytest.raises(RuntimeError, match="no episode in progress"):
        env.step({})
    env.reset()
    assert env.agents == env.possible_agents
    env.close()


# Arrays ------------------------------------------------------------------------------------------


@every_problem
def test_a_copy_of_a_batch_equals_a_single_environment(name):
    batch, rng = envs.make_batch(name, 3), np.random.default_rng(0)
    singles = [envs.make(name) for _ in SEEDS]
    observations = batch.reset(SEEDS)
    assert observations.dtype == np.float32
    for b, (single, seed) in enumerate(zip(singles, SEEDS, strict=True)):
        first, _ = single.reset(seed=seed)
        np.testing.assert_array_equal(list(first.values()), observations[b])
    episodes = 0
    for _ in range(40):
        actions = sampled(batch, rng)
        observations, rewards, terminated, truncated = batch.step(actions)
        for b, single in enumerate(singles):
            shown = single.step(dict(zip(single.agents, actions[b], strict=True)))
            np.testing.assert_array_equal(list(shown[0].values()), observations[b])
            np.testing.assert_array_equal(list(shown[1].values()), rewards[b])
            assert set(shown[2].values()) == {bool(terminated[b])}
            assert set(shown[3].values()) == {bool(truncated[b])}
            np.testing.assert_array_equal(single.state(), batch.state()[b])
            assert single.metrics() == {
                key: float(values[b]) for key, values in batch.metrics().items()
            }
        ended = np.flatnonzero(terminated | truncated)
        if ended.size:
            observations = batch.reset(copies=ended)
            for b in ended:
                first, _ = singles[b].reset()
                np.testing.assert_array_equal(list(first.values()), observations[b])
            episodes += 1
        if episodes == 5:
            break


@every_problem
def test_seeds_repeat_and_unseeded_resets_go_on(name):
    problem = envs.make_batch(name, 3)
    first, second = play(problem, 5, SEEDS), play(problem, 5)
    assert any((a != b).any() for a, b in zip(first, second, strict=True))
    again = envs.make_batch(name, 3)
    play(again, 1)  # what was before a seed does not matter
    assert_same(play(again, 5, SEEDS), first)
    assert_same(play(again, 5), second)
    fresh = envs.make_batch(name, 3)
    assert any((a != b).any() for a, b in zip(play(fresh, 5), play(again, 5), strict=True))


@every_problem
def test_one_copy_begins_anew_and_the_others_stay(name):
    problem, rng = envs.make_batch(name, 3), np.random.default_rng(1)
    first = problem.reset(SEEDS)
    observations = problem.step(sampled(problem, rng))[0]
    state = problem.state()
    after = problem.reset([SEEDS[1]], copies=[1])
    np.testing.assert_array_equal(after[1], first[1])
    np.testing.assert_array_equal(after[[0, 2]], observations[[0, 2]])
    np.testing.assert_array_equal(problem.state()[[0, 2]], state[[0, 2]])
    with pytest.raises(ValueError, match="2 seeds for 3 copies: one each is needed"):
        problem.reset([1, 2])


@every_problem
def test_all_stays_inside_its_space(name):
    problem, rng = envs.make_batch(name, 2), np.random.default_rng(2)
    observations = problem.reset(SEEDS[:2])
    over = np.zeros(2, bool)
    while not over.any():
        for b in range(2):
            assert all(problem.observation_space.contains(seen) for seen in observations[b])
            assert problem.state_space.contains(problem.state()[b])
        masks = problem.action_masks()
        assert masks is None or masks.any(axis=-1).all(), "something is always legal"
        observations, rewards, terminated, truncated = problem.step(sampled(problem, rng))
        assert rewards.shape == (2, len(problem.agents))
        assert rewards.dtype == np.float32
        assert np.isfinite(rewards).all()
        over = terminated | truncated
    problem.close()


@every_problem
def test_a_problem_travels(name):
    problem = envs.make_batch(name, 2)
    play(problem, 3, SEEDS[:2])
    twin = pickle.loads(pickle.dumps(problem))
    rng = [np.random.default_rng(4) for _ in range(2)]
    for _ in range(5):  # in the middle of an episode
        shown = advance(problem, sampled(problem, rng[0])), advance(twin, sampled(twin, rng[1]))
        assert_same(*shown)
    assert_same(play(problem, 3), play(twin, 3))  # and into the next one
    assert isinstance(pickle.loads(pickle.dumps(envs.make(name))), ParallelView)


@pytest.mark.slow
@every_problem
def test_baselines_play(name, request):
    module = envs.module(name)
    config = module.Config()
    if name == "kv_compression":  # some of whose baselines learn from a table
        config = request.getfixturevalue("small_kv_compression")
    for baseline in module.BASELINES.values():
        problem = module.Problem(baseline.configure(config), 2)
        policy, observations = baseline.policy(problem), problem.reset([1, 2])
        for _ in range(3):
            by_agent = {agent: observations[:, i] for i, agent in enumerate(problem.agents)}
            actions = policy(by_agent)
            joint = np.stack([actions[agent] for agent in problem.agents], axis=1)
            observations = advance(problem, joint)[0]
            assert all(len(action) == 2 for action in actions.values())
            again = policy(by_agent, None)  # masks, where there are none
            assert again.keys() == set(problem.agents)


# Other libraries ---------------------------------------------------------------------------------


@every_problem
def test_supersuit_makes_a_vector_environment_of_it(name):
    vector = supersuit.pettingzoo_env_to_vec_env_v1(envs.make(name))
    vector = supersuit.concat_vec_envs_v1(vector, 2, num_cpus=0, base_class="gymnasium")
    agents = len(envs.make(name).possible_agents)
    observations, _ = vector.reset(seed=3)
    assert vector.num_envs == 2 * agents
    for _ in range(3):
        actions = np.stack([vector.action_space.sample() for _ in range(vector.num_envs)])
        observations, rewards, terminated, truncated, _ = vector.step(actions)
        assert observations.shape == (2 * agents, *vector.observation_space.shape)
        assert len(rewards) == len(terminated) == len(truncated) == 2 * agents
    vector.close()


@every_problem
def test_rllib_knows_it_by_name(name):
    envs.register()
    config = ToyConfig().environment(name).env_runners(env_runner_cls=MultiAgentEnvRunner)
    config.multi_agent(policies={"shared"}, policy_mapping_fn=lambda agent, *a, **kw: "shared")
    runner = MultiAgentEnvRunner(config=config, worker_index=0)
    episodes = runner.sample(num_timesteps=5, random_actions=True)
    assert sum(len(episode) for episode in episodes) == 5
    runner.stop()


@pytest.mark.slow
def test_problems_need_neither_ray_nor_torch():
    """But for the one that asks a language model."""
    code = (
        "import sys\n"
        "from marlserve import envs\n"
        "for name in envs.names():\n"
        "    if name != 'kv_compression': envs.make(name).reset(seed=0)\n"
        "assert not {'ray', 'torch', 'matplotlib'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
