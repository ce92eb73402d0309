"""The vectorised runner against a plain loop over one environment, and what it promises RLlib."""

from collections import Counter

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Discrete
from pettingzoo import ParallelEnv
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.callbacks.callbacks import RLlibCallback
from ray.rllib.core.columns import Columns
from ray.rllib.core.rl_module.multi_rl_module import MultiRLModuleSpec
from ray.rllib.core.rl_module.rl_module import RLModuleSpec
from ray.rllib.env import INPUT_ENV_SINGLE_SPACES
from ray.rllib.env.multi_agent_env_runner import MultiAgentEnvRunner
from ray.rllib.env.wrappers.pettingzoo_env import ParallelPettingZooEnv
from ray.tune.registry import register_env
from toy_modules import Clock, Memory, Reflex, ToyConfig
from toys import Counting, Crashing, Departures, Drift, Recall, drift

from marlserve.policies.sampling.actions import ActionArrays
from marlserve.policies.sampling.multi_agent_env import (
    ParallelMultiAgentEnv,
    PettingZooEnv,
    ProblemEnv,
)
from marlserve.policies.sampling.parallel_batch import ParallelBatch
from marlserve.policies.sampling.runner import MIXER, VectorEnvRunner
from marlserve.policies.sampling.sequences import (
    ACTION_MASK,
    ACTIONS,
    ACTIVE,
    FIRST,
    HIDDEN,
    LENGTH,
    OBS,
    REWARDS,
    STATE,
    TERMINATED,
    Sequences,
)

L = 4


def config_of(toy, module=Reflex, num_envs=3, policies=("shared",), seed=5, **kwargs):
    """A config for a toy by its name in `toys`; agents are dealt to policies in turn."""
    mapping = {f"a{i}": policies[i % len(policies)] for i in range(9)}
    specs = module if isinstance(module, dict) else dict.fromkeys(policies, module)
    return (
        ToyConfig()
        .environment(PettingZooEnv, env_config={"maker": f"toys:{toy}", "kwargs": kwargs})
        .env_runners(num_envs_per_env_runner=num_envs)
        .multi_agent(
            policies=set(policies),
            policy_mapping_fn=lambda agent, episode, **kw: mapping.get(agent, policies[0]),
        )
        .rl_module(
            rl_module_spec=MultiRLModuleSpec(
                rl_module_specs={
                    name: RLModuleSpec(module_class=cls) for name, cls in specs.items()
                }
            )
        )
        .debugging(seed=seed)
    )


def runner_of(toy, *args, worker_index=0, **kwargs):
    return VectorEnvRunner(config=config_of(toy, *args, **kwargs), worker_index=worker_index)


def sample(runner, **kwargs) -> Sequences:
    (sequences,) = runner.sample(**kwargs)
    return sequences


def plain_rows(env, seed, module, episodes):
    """The rows of one environment, sampled by the most straightforward loop."""
    rows = []
    for episode in range(episodes):
        seen, _ = env.reset(seed=seed if episode == 0 else None)
        hidden = {agent: module.get_initial_state().get("h") for agent in env.possible_agents}
        row, over = None, False
        while not over:
            if row is None or len(row["actions"]) == L:
                first = row is None
                row = {"obs": [seen], "actions": [], "rewards": [], "hidden": dict(hidden)}
                row["first"] = first
                rows.append(row)
            actions = {}
            for agent, observation in seen.items():
                batch = {Columns.OBS: torch.tensor(observation)[None]}
                if module.is_stateful():
                    batch[Columns.OBS] = batch[Columns.OBS][None]
                    batch[Columns.STATE_IN] = {"h": hidden[agent][None]}
                with torch.no_grad():
                    output = module._forward_exploration(batch, t=0)
                actions[agent] = int(output[Columns.ACTIONS])
                if module.is_stateful():
                    hidden[agent] = output[Columns.STATE_OUT]["h"][0]
            seen, rewards, terminations, _, _ = env.step(actions)
            row["actions"].append(list(actions.values()))
            row["rewards"].append(list(rewards.values()))
            row["obs"].append(seen)
            over = not env.agents
            row["terminated"] = over and all(terminations.values())
    return rows


@pytest.mark.parametrize("module", [Reflex, Memory])
@pytest.mark.parametrize("terminates", [False, True])
def test_rows_equal_a_plain_loop(module, terminates):
    kwargs = {"length": 9, "random_length": True, "terminates": terminates}
    runner = runner_of("Counting", module, **kwargs)
    parts = [part for _ in range(9) for part in runner.sample(num_timesteps=21)]
    sampled = Sequences.concatenate(parts)
    assert sampled.env_steps() <= 9 * 21
    model = runner.module["shared"]
    by_number = {}  # the number and position that an episode shows, to its row in the sample
    for row in range(len(sampled)):
        by_number[tuple(sampled[OBS][row, 0, 0])] = row
    assert len(by_number) == len(sampled)
    found = 0
    for env in runner.env.envs:
        plain = plain_rows(Counting(**kwargs), env.seeds[0], model, len(env.seeds))
        for expected in plain:
            row = by_number.get(tuple(expected["obs"][0]["a0"]))
            if row is None:  # still being filled
                continue
            found += 1
            length = len(expected["actions"])
            assert sampled[LENGTH][row] == length
            assert sampled[FIRST][row] == expected["first"]
            assert sampled[TERMINATED][row] == expected["terminated"]
            observations = [list(seen.values()) for seen in expected["obs"]]
            np.testing.assert_array_equal(sampled[OBS][row, : length + 1], observations)
            np.testing.assert_array_equal(sampled[ACTIONS][row, :length], expected["actions"])
            np.testing.assert_array_equal(
                sampled[REWARDS][row, :length], np.float32(expected["rewards"])
            )
            assert not sampled[OBS][row, length + 1 :].any()
            assert not sampled[REWARDS][row, length:].any()
            if module is Memory:
                np.testing.assert_array_equal(
                    sampled[HIDDEN][row], torch.stack(list(expected["hidden"].values()))
                )
    assert found == len(sampled)
    assert (HIDDEN in sampled) == (module is Memory)


def test_an_array_problem_and_its_copies_one_by_one_give_the_same_rows(monkeypatch):
    arrays = sample(runner_of("drift", Memory, limit=1.2), num_episodes=9)
    monkeypatch.delattr("marlserve.envs.base.ParallelView.make_batch")
    copies = runner_of("drift", Memory, limit=1.2)
    assert isinstance(copies.env.batch, ParallelBatch)
    loop = sample(copies, num_episodes=9)
    assert arrays.columns.keys() == loop.columns.keys() | {HIDDEN}
    for name, column in arrays.columns.items():
        np.testing.assert_array_equal(column, loop[name], err_msg=name)
    assert 0 < arrays[TERMINATED].sum() < 9, "both ends must occur"


def test_hidden_states_stored_equal_hidden_states_recomputed():
    rows = sample(runner_of("Counting", Memory, length=11), num_episodes=6)
    assert not rows[FIRST].all()
    for row in np.flatnonzero(~rows[FIRST]):
        hidden = np.full((2, 2), 0.25, np.float32)
        number, episode = rows[OBS][row, 0, 0, :2]
        steps_before = int(rows[OBS][row, 0, 0, 2])
        for _ in range(steps_before):
            hidden = np.float32(0.5) * hidden + np.array([number, episode], np.float32)
        np.testing.assert_array_equal(rows[HIDDEN][row], hidden)
        assert steps_before % L == 0


def test_truncation_is_not_termination():
    truncated = sample(runner_of("Counting", length=3), num_episodes=6)
    terminated = sample(runner_of("Counting", length=3, terminates=True), num_episodes=6)
    assert not truncated[TERMINATED].any()
    assert terminated[TERMINATED].all()
    for rows in (truncated, terminated):
        np.testing.assert_array_equal(rows[LENGTH], 3)
        np.testing.assert_array_equal(rows[OBS][:, 3, 0, 2], 3)  # what the last step led to
        assert rows[ACTIVE][:, : 3 + 1].all()


def test_agents_that_leave_are_inactive():
    rows = sample(runner_of("Departures"), num_episodes=3)
    agent, step = np.arange(3), np.arange(4)[:, None]
    active = (agent >= step) | ((step == 3) & (agent == 2))
    np.testing.assert_array_equal(rows[ACTIVE][0, :4], active)
    np.testing.assert_array_equal(rows[OBS][0, :4, :, 1], active * (1 + agent))
    np.testing.assert_array_equal(rows[REWARDS][0, :3], active[:3])
    assert not rows[TERMINATED].any()  # the last agent was truncated
    assert rows.agent_steps() == 3 * (3 + 2 + 1)
    mask = rows[ACTION_MASK][0, :4, :, 0]
    np.testing.assert_array_equal(mask[~active], np.tile([True, False, False], (5, 1)))
    np.testing.assert_array_equal(mask[1, 1], [True, True, False])
    assert not rows[ACTIONS][:, :3][:, ~active[:3]].any()


def test_an_unfinished_row_goes_on_in_the_next_call():
    runner = runner_of("Counting", length=6)
    assert runner.sample(num_timesteps=3 * 3) == []
    rows = sample(runner, num_timesteps=3)
    np.testing.assert_array_equal(rows[LENGTH], [4, 4, 4])
    rows = sample(runner, num_timesteps=3 * 2)
    np.testing.assert_array_equal(rows[LENGTH], [2, 2, 2])
    assert not rows[FIRST].any()
    runner.sample(num_timesteps=3)
    rows = sample(runner, num_timesteps=3 * 4, force_reset=True)
    assert rows[FIRST].all()
    assert rows.env_steps() == 3 * 4


def test_evaluation_is_handed_every_step():
    config = config_of("Counting", length=6)
    config.in_evaluation = True
    runner = VectorEnvRunner(config=config, worker_index=0)
    assert sample(runner, num_timesteps=3 * 3).env_steps() == 9
    rows = sample(runner, num_timesteps=3 * 3)
    assert rows.env_steps() == 9
    assert not rows[FIRST].any()


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
        monkeypatch.delattr("marlserve.envs.base.ParallelView.make_batch")
    runner = runner_of("drift", limit=1000.0, num_steps=6)
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


@pytest.mark.parametrize("toy", ["Recall", "Departures", "Dials", "Target", "drift"])
def test_random_actions_are_legal(toy):
    config = config_of(toy, Reflex)
    if toy == "Target":
        config.normalize_actions = True
    rows = sample(
        VectorEnvRunner(config=config, worker_index=0), num_episodes=60, random_actions=True
    )
    if toy == "Target":
        assert rows[ACTIONS].min() < -0.9
        assert rows[ACTIONS].max() > 0.9
        return
    chosen = rows[ACTIONS].reshape(*rows[REWARDS].shape, -1)
    legal = np.take_along_axis(rows[ACTION_MASK][:, :-1], chosen[..., None], -1)[rows.valid()]
    assert legal.all()
    taken = np.zeros(rows[ACTION_MASK].shape[-2:], bool)
    taken[np.arange(chosen.shape[-1]), chosen[rows.valid()].reshape(-1, chosen.shape[-1])] = True
    np.testing.assert_array_equal(taken, rows[ACTION_MASK].any((0, 1, 2)))  # and all of them


def test_several_modules_recurrent_and_not():
    rows = sample(
        runner_of(
            "Counting", {"p": Memory, "q": Reflex}, policies=("p", "q"), num_agents=4, length=9
        ),
        num_episodes=6,
    )
    memory = sample(runner_of("Counting", Memory, num_agents=4, length=9), num_episodes=6)
    reflex = sample(runner_of("Counting", Reflex, num_agents=4, length=9), num_episodes=6)
    np.testing.assert_array_equal(rows[OBS], memory[OBS])
    np.testing.assert_array_equal(rows[ACTIONS][..., 0::2], memory[ACTIONS][..., 0::2])
    np.testing.assert_array_equal(rows[ACTIONS][..., 1::2], reflex[ACTIONS][..., 1::2])
    np.testing.assert_array_equal(rows[HIDDEN][:, 0::2], memory[HIDDEN][:, 0::2])
    assert not rows[HIDDEN][:, 1::2].any()


@pytest.mark.parametrize("toy", ["Counting", "Dials", "Target"])
def test_modules_that_give_a_distribution(toy):
    config = (
        PPOConfig()
        .environment(PettingZooEnv, env_config={"maker": f"toys:{toy}"})
        .env_runners(num_env_runners=0, num_envs_per_env_runner=8, env_runner_cls=VectorEnvRunner)
        .multi_agent(policies={"p"}, policy_mapping_fn=lambda agent, episode, **kw: "p")
        .debugging(seed=1)
    )
    config.sequence_columns = (Columns.ACTION_LOGP, Columns.ACTION_DIST_INPUTS)
    runner = VectorEnvRunner(config=config, worker_index=0)
    rows = sample(runner, num_episodes=16)
    assert rows[Columns.ACTION_LOGP].shape == rows[REWARDS].shape
    module = runner.module["p"]
    inputs = torch.tensor(rows[Columns.ACTION_DIST_INPUTS][rows.valid()])
    distribution = module.get_exploration_action_dist_cls().from_logits(inputs)
    logp = distribution.logp(torch.tensor(rows[ACTIONS][rows.valid()]))
    np.testing.assert_allclose(logp, rows[Columns.ACTION_LOGP][rows.valid()], rtol=1e-5, atol=1e-6)
    assert len(np.unique(rows[ACTIONS])) > 1
    greedy = sample(runner, num_episodes=8, explore=False)
    inputs = torch.tensor(greedy[Columns.ACTION_DIST_INPUTS][greedy.valid()])
    best = module.get_inference_action_dist_cls().from_logits(inputs).to_deterministic().sample()
    np.testing.assert_array_equal(best, greedy[ACTIONS][greedy.valid()])


def test_boxes_are_stretched_and_indices_shifted():
    box = Box(np.array([2.0, -1.0], np.float32), np.array([6.0, 1.0], np.float32))
    actions = np.array([[-1.0, 0.5], [1.0, 7.0]], np.float32)
    np.testing.assert_array_equal(
        ActionArrays(box, normalize=True).to_env(actions), [[2.0, 0.5], [6.0, 1.0]]
    )
    np.testing.assert_array_equal(
        ActionArrays(box, clip=True).to_env(actions), [[2.0, 0.5], [2.0, 1.0]]
    )
    np.testing.assert_array_equal(
        ActionArrays(Discrete(3, start=-1)).to_env(np.arange(3)), [-1, 0, 1]
    )
    with pytest.raises(ValueError, match="MultiBinary"):
        ActionArrays(gymnasium.spaces.MultiBinary(3))


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
        np.testing.assert_array_equal(mine[OBS][:, 0, 0, 2], L * np.arange(len(mine)))


def test_a_crash_propagates_unless_restarts_are_asked_for():
    Crashing.made = 0
    with pytest.raises(RuntimeError, match="as it should"):
        runner_of("Crashing").sample()
    with pytest.raises(RuntimeError, match="as it should"):
        runner_of("drift", crash_at=4).sample()


def test_an_array_problem_that_crashes_is_made_anew():
    config = config_of("drift", num_envs=2, crash_at=4, limit=1000.0)
    config.fault_tolerance(restart_failed_sub_environments=True)
    runner = VectorEnvRunner(config=config, worker_index=0)
    runner.sample(num_timesteps=2 * 5)
    metrics = runner.get_metrics()
    assert metrics["num_env_step_failures"].peek() == 2
    assert metrics["num_env_steps_dropped_lifetime"].peek() == 2 * 3
    config = config_of("drift", num_envs=2, crash_at=1)
    config.fault_tolerance(restart_failed_sub_environments=True)
    with pytest.raises(RuntimeError, match="as it should"):  # not for ever
        VectorEnvRunner(config=config, worker_index=0).sample()


def test_spaces_of_modules_and_of_the_state():
    runner = runner_of("Recall", policies=("p", "q"), num_agents=3)
    spaces = runner.get_spaces()
    assert spaces[MIXER] == (Box(-np.inf, np.inf, (3 * 3 + 1,), np.float32), None)
    assert spaces["p"] == spaces["q"]
    assert spaces["p"][0].shape == (3 + 1 + 3,)
    assert list(spaces[INPUT_ENV_SINGLE_SPACES][0].spaces) == ["a0", "a1", "a2"]
    many = runner_of("Counting", num_agents=12).get_spaces()
    assert list(many[INPUT_ENV_SINGLE_SPACES][0].spaces) == [f"a{i}" for i in range(12)]
    assert many[MIXER][0].shape == (12 * 4,)  # no state of its own: all observations


@pytest.mark.parametrize("wrapper", [ParallelPettingZooEnv, ParallelMultiAgentEnv, lambda env: env])
@pytest.mark.parametrize("make", [Counting, drift])
def test_environments_registered_by_name(wrapper, make):
    register_env("toy", lambda config: wrapper(make()))
    config = config_of("Counting").environment("toy", env_config={})
    runner = VectorEnvRunner(config=config, worker_index=0)
    assert isinstance(runner.env.batch, Drift if make is drift else ParallelBatch)
    assert len(sample(runner, num_episodes=3))


def test_mappings_and_environments_that_do_not_exist():
    with pytest.raises(ValueError, match="'nowhere' is not registered"):
        VectorEnvRunner(config=config_of("Counting").environment("nowhere"), worker_index=0)
    config = config_of("Counting").multi_agent(policy_mapping_fn=lambda agent, episode, **kw: "x")
    with pytest.raises(ValueError, match=r"gives \['x'\]"):
        VectorEnvRunner(config=config, worker_index=0)
    with pytest.raises(ValueError, match="expected a PettingZoo ParallelEnv"):
        VectorEnvRunner(config=config_of("Counting").environment(lambda c: 3), worker_index=0)


class Odd(ParallelEnv):
    """Agents whose ids or spaces no batch can hold."""

    def __init__(self, agents, sizes):
        self.metadata = {"name": "odd"}
        self.possible_agents = self.agents = agents
        self.sizes = dict(zip(agents, sizes, strict=True))

    def observation_space(self, agent):
        return Box(0, 1, (self.sizes[agent],), np.float32)

    def action_space(self, agent):
        return Discrete(2)


def test_environments_that_no_batch_can_hold():
    with pytest.raises(ValueError, match="pad_observations_v0"):
        ParallelBatch([Odd(["a", "b"], [2, 3])])
    with pytest.raises(ValueError, match="must be strings"):
        ParallelBatch([Odd([0, 1], [2, 2])])
    with pytest.raises(ValueError, match="must be strings"):
        ParallelMultiAgentEnv(Odd([0, 1], [2, 2]))
    with pytest.raises(ValueError, match="at least 1"):
        ParallelBatch([])


def test_parallel_batch_reads_masks_in_every_form():
    batch = ParallelBatch([Departures()])
    batch.reset([1])
    np.testing.assert_array_equal(batch.action_masks()[0, 0], [[True, False, False]])
    batch = ParallelBatch([Recall(), Recall()])
    assert batch.observation_space.shape == (6,)
    batch.reset([1, 2])
    assert batch.action_masks().shape == (2, 2, 1, 4)
    assert batch.state().shape == (2, 7)


def test_third_party_environment():
    simple_spread = pytest.importorskip("mpe2.simple_spread_v3")
    config = config_of("Counting")
    config.environment(
        PettingZooEnv,
        env_config={
            "maker": "mpe2.simple_spread_v3:parallel_env",
            "kwargs": {"N": 2, "max_cycles": 5},
        },
    )
    rows = sample(
        VectorEnvRunner(config=config, worker_index=0), num_episodes=3, random_actions=True
    )
    assert rows.env_steps() == 15
    assert not rows[TERMINATED].any()
    assert rows[STATE].shape[2:] == simple_spread.parallel_env(N=2).state_space.shape
    assert PettingZooEnv(config.env_config).make_batch(4).num_envs == 4


class TestMultiAgentEnv:
    """Our wrappers under RLlib's own runner and on their own."""

    def test_stock_runner(self):
        config = config_of("Departures")
        config.env_runners(num_envs_per_env_runner=1, env_runner_cls=MultiAgentEnvRunner)
        runner = MultiAgentEnvRunner(config=config, worker_index=0)
        episodes = runner.sample(num_episodes=4, random_actions=True)
        assert [len(episode) for episode in episodes] == [3] * 4
        assert all(episode.get_return() == 6 for episode in episodes)

    def test_an_episode_ends_when_agents_end_differently(self):
        env = ParallelMultiAgentEnv(Departures(2))
        env.reset(seed=0)
        *_, terminateds, truncateds, _ = env.step({"a0": 0, "a1": 0})
        assert terminateds == {"a0": True, "a1": False, "__all__": False}
        *_, terminateds, truncateds, _ = env.step({"a1": 0})
        assert truncateds == {"a1": True, "__all__": True}

    def test_state_and_spaces(self):
        env = PettingZooEnv({"maker": "toys:TwoStep"})
        _, infos = env.reset(seed=0)
        np.testing.assert_array_equal(infos["a0"]["state"], [1, 0, 0])
        _, _, _, _, infos = env.step({"a0": 1, "a1": 0})
        np.testing.assert_array_equal(infos["a0"]["state"], [0, 0, 1])
        assert env.get_observation_space("a1").shape == (5,)
        assert ParallelMultiAgentEnv(drift()).make_batch(5).num_envs == 5

    def test_bad_configs(self):
        with pytest.raises(ValueError, match="no 'problem'"):
            ProblemEnv({"num_servers": 3})
        with pytest.raises(ValueError, match="no_such_problem"):
            ProblemEnv({"problem": "no_such_problem"})
        with pytest.raises(ValueError, match="module:function"):
            PettingZooEnv({"maker": "toys:NoSuchToy"})
        with pytest.raises(ValueError, match="'maker'"):
            PettingZooEnv({"make": "toys:TwoStep"})
        with pytest.raises(ValueError, match="no make_batch"):
            ParallelMultiAgentEnv(Counting()).make_batch(2)


def test_remote_runner(ray_session):
    import ray

    remote = ray.remote(num_cpus=1)(VectorEnvRunner).remote(
        config=config_of("drift", Memory), worker_index=1
    )
    (there,) = ray.get(remote.sample.remote(num_episodes=6))
    here = sample(runner_of("drift", Memory, worker_index=1), num_episodes=6)
    for name, column in here.columns.items():
        np.testing.assert_array_equal(column, there[name], err_msg=name)
    assert ray.get(remote.get_spaces.remote())[MIXER][0].shape == (1,)
    ray.kill(remote)
