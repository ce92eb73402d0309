"""Trainer and programs as processes: they learn, are killed, come back, and end in order."""

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import gymnasium as gym
import pytest
from external_cases import until

from marlserve.policies import export
from marlserve.serving.client.agent import Agent
from marlserve.serving.client.rl4sys import RL4SysAgent, client_settings
from marlserve.serving.policy_store import PolicyStore
from marlserve.serving.wire.program import read

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def file_of(folder: Path, **changes) -> Path:
    said = {
        "client_id": "cartpole",
        "algorithm_parameters": {"input_size": 4, "act_dim": 2, "seed": 0},
        "type": "onpolicy",
        "train_server_address": f"127.0.0.1:{free_port()}",
        "folder": str(folder / "run"),
        "save_every_s": 1.0,
        "when_full": "wait",
        "buffer_steps": 1_000,
        "evaluator": "numpy",
    }
    path = folder / "program.json"
    path.write_text(json.dumps(said | changes))
    return path


class Trainer:
    """The process; its learners' lines go to a file."""

    def __init__(self, config: Path):
        self._said = config.parent / "said.txt"
        command = [sys.executable, "-m", "marlserve.serving.trainer", "--config", str(config)]
        with self._said.open("a") as out:
            self.process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT)

    def progress(self) -> list[dict]:
        """What its learners said so far, over all restarts."""
        return [x for x in self._lines() if "env_steps" in x]

    def counts(self) -> dict:
        """What its front said last."""
        return [x for x in self._lines() if "received" in x][-1]

    def _lines(self) -> list[dict]:
        lines = self._said.read_text().splitlines()
        return [json.loads(x) for x in lines if x.startswith("{") and x.endswith("}")]

    def learner(self) -> int:
        return self.learners()[0]

    def learners(self) -> list[int]:
        path = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return [int(each) for each in path.read_text().split()]

    def end(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(120)

    def kill(self) -> None:
        if self.process.poll() is None:
            for learner in self.learners():
                os.kill(learner, signal.SIGKILL)
            self.process.kill()


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
