"""The rows that the runner samples, against a plain loop over one environment."""

import numpy as np
import pytest
import torch
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.core.columns import Columns
from toy_modules import Memory, Reflex, config_of, runner_of, sample
from toys import Counting

from marlserve.policies.sampling.multi_agent_env import (
    PettingZooEnv,
)
from marlserve.policies.sampling.parallel_batch import ParallelBatch
from marlserve.policies.sampling.runner import VectorEnvRunner
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

L = 4  # of `ToyConfig`


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
    arrays = sample(runner_of("toy_problem:drift", Memory, limit=1.2), num_episodes=9)
    monkeypatch.delattr("marlserve.envs.parallel.ParallelView.make_batch")
    copies = runner_of("toy_problem:drift", Memory, limit=1.2)
    assert isinstance(copies.env.batch, ParallelBatch)
    loop = sample(copies, num_episodes=9)
    assert arrays.columns.keys() == loop.columns.keys() | {HIDDEN}
    for rows in (arrays, loop):  # the state after a termination is any
        ended = np.flatnonzero(rows[TERMINATED])
        rows[STATE][ended, rows[LENGTH][ended]] = 0
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


@pytest.mark.parametrize("toy", ["Recall", "Departures", "Dials", "Target", "toy_problem:drift"])
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
