"""Trainer and programs as processes: they learn, are killed, come back, and end in order."""

import os
import signal
import subprocess
import sys

import gymnasium as gym
import pytest
from external_cases import until
from trainer_process import Trainer, file_of

from marlserve.policies import export
from marlserve.serving.client.agent import Agent
from marlserve.serving.client.rl4sys import RL4SysAgent, client_settings
from marlserve.serving.policy_store import PolicyStore
from marlserve.serving.wire.program import read

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def live(agent: Agent, is_enough, seed: int = 0) -> int:
    """Go through CartPole until it is enough; how many steps it were."""
    env, steps = gym.make("CartPole-v1"), 0
    seen, _ = env.reset(seed=seed)
    while not is_enough():
        over = False
        while not over:
            decision = agent.act(seen)
            seen, reward, terminated, truncated, _ = env.step(decision.action)
            decision.reward(reward)
            steps, over = steps + 1, terminated or truncated
        agent.end(terminated, not terminated, seen)
        seen, _ = env.reset()
    return steps


def test_it_learns_is_killed_comes_back_and_ends_in_order(tmp_path):
    """CartPole by PPO to 200; most of what was sent is learned from; and all kinds of ends."""
    config = file_of(tmp_path)
    trainer = Trainer(config)
    agent = Agent(client_settings(read(config)))
    assert agent.wait_for_policy(120)
    try:

        def has_learned() -> bool:
            means = [x["return_mean"] for x in trainer.progress()]
            return bool(means) and (means[-1] or 0.0) >= 200.0

        live(agent, has_learned)
        counts, learned = trainer.counts(), trainer.progress()[-1]["env_steps"]
        assert counts["taken"] + counts["queued"] >= 0.9 * counts["received"]
        assert agent.outbox.lost.total() < 0.1 * counts["received"]

        before = len(trainer.progress())
        os.kill(trainer.learner(), signal.SIGKILL)  # the front goes on, and starts another one
        live(agent, lambda: len(trainer.progress()) > before)
        assert trainer.progress()[-1]["env_steps"] > 0.5 * learned  # it began where it was saved
        assert trainer.end() == 0
        at_end = trainer.progress()[-1]["env_steps"]

        run = agent.link.newest.run
        trainer = Trainer(config)
        until(lambda: agent.link.newest.run != run)
        before = len(trainer.progress())
        live(agent, lambda: len(trainer.progress()) > before)
        assert trainer.progress()[-1]["env_steps"] > at_end
        agent.close()
        assert trainer.end() == 0
    finally:
        trainer.kill()
    store = PolicyStore(tmp_path / "run/policies")
    assert store.read(store.current().version).training["env_steps"] > at_end
    assert export.load(tmp_path / f"run/policies/versions/{store.current().version}") is not None


def test_a_program_by_rl4syss_names_with_dqn_and_a_learner_of_its_own(tmp_path):
    """When it has ended nobody uses the policy, so that its learner ends until somebody does."""
    more = {"algorithm_name": "DQN", "type": "offpolicy", "send_frequency": 2, "idle_after_s": 10.0}
    more |= {"learners": "per_client", "client_name": "one"}
    config = file_of(tmp_path, **more)
    trainer = Trainer(config)
    try:
        agent = RL4SysAgent(conf_path=str(config), debug=False)
        assert agent.agent.wait_for_policy(120)
        env = gym.make("CartPole-v1")
        while not any(x["env_steps"] > 500 for x in trainer.progress()):
            trajectory, (seen, _), over = None, env.reset(), False
            while not over:
                trajectory, action = agent.request_for_action(trajectory, seen.tolist())
                seen, reward, terminated, truncated, _ = env.step(int(action.act))
                agent.add_to_trajectory(trajectory, action)
                action.update_reward(reward)
                over = terminated or truncated
            agent.mark_end_of_trajectory(trajectory, action, truncated=truncated, obs=seen)
        agent.close()
        assert agent.agent.link.newest.epsilon < 1.0
        assert agent.agent.outbox.lost.keys() <= {"unsent"}  # it was closed while it waited
        until(lambda: not trainer.learners())
        with Agent(client_settings(read(config))):
            until(lambda: trainer.learners())
        assert trainer.end() == 0
        assert PolicyStore(tmp_path / "run/one/policies").current() is not None
    finally:
        trainer.kill()


def test_it_does_not_start_with_a_file_that_is_wrong(tmp_path):
    config = file_of(tmp_path, colour="red")
    command = [sys.executable, "-m", "marlserve.serving.trainer", "--config", str(config)]
    done = subprocess.run(command, text=True, capture_output=True, timeout=120)
    assert done.returncode == 1
    assert "unknown keys ['colour']; known are ['client_id', 'algorithm_name'" in done.stderr
    assert "Traceback" not in done.stderr


def test_it_ends_at_once_if_the_file_asks_for_what_cannot_work(tmp_path):
    config = file_of(
        tmp_path,
        algorithm_name="qmix",
        algorithm_parameters={"input_size": 4, "act_dim": 2},
        type="",
    )
    command = [sys.executable, "-m", "marlserve.serving.trainer", "--config", str(config)]
    done = subprocess.run(command, text=True, capture_output=True, timeout=120)
    assert done.returncode == 1
    assert "QMIX learns from a state of all agents, and state_size is 0" in done.stderr
    assert "Traceback" not in done.stderr
