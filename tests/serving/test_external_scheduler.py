"""The example that schedules jobs: its episodes are those of the problem, and it learns."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from external_cases import agent_of, contract, everything, fronted, inlet_of
from gymnasium.spaces import Discrete
from trainer_process import Trainer, file_of

from marlserve.envs.job_scheduling import FEATURES, Config, Problem
from marlserve.policies.export import spaces
from marlserve.policies.export.layers import Layer
from marlserve.policies.export.network import Network, PolicyFile
from marlserve.serving.client import course, scheduler
from marlserve.serving.client.agent import Agent
from marlserve.serving.client.settings import ClientSettings
from marlserve.serving.wire.contract import COLUMNS
from marlserve.serving.wire.seats import Seat
from marlserve.serving.wire.steps import Steps

# Jobs wait, as there are more than there is room for.
SMALL = Config(max_visible=3, num_jobs=20, offered_load=100.0, num_processors=16)
SEED, COPIES, STEPS = 5, 3, 50  # several episodes each


def chance(problem: Problem) -> PolicyFile:
    """A policy that draws any action with the same chance."""
    size = int(problem.action_space.n)
    layers = (
        Layer("flat", "flatten", ("observation",), (size * len(FEATURES),)),
        Layer("q", "linear", ("flat",), (size,)),
    )
    weights = {
        "q.weight": np.zeros((size, size * len(FEATURES)), np.float32),
        "q.bias": np.zeros(size, np.float32),
    }
    seen = problem.observation_space
    network = Network(seen, Discrete(size), layers, weights, "logits")
    return PolicyFile({"q": network}, {"*": "q"})


def scheduled(problem: Problem) -> tuple[list[scheduler.Step], list[Steps]]:
    """Some steps, and the fragments that a trainer has of them."""
    seat = Seat(problem.observation_space, problem.action_space, masked=True)
    with fronted() as front:
        inlet = inlet_of(front, contract(on_policy=True, seats={"*": seat}, columns=COLUMNS[:1]))
        inlet.publish(chance(problem), 0.0)
        with agent_of(front, seed=0) as agent:
            assert agent.wait_for_policy(60)
            clusters = scheduler.Clusters(agent, problem, SEED)
            steps = [clusters.step() for _ in range(STEPS)]
        fragments = everything(inlet)
        inlet.close()
    return steps, fragments


def test_its_episodes_are_those_of_the_problem():
    """The same seeds and actions give the same jobs, masks and rewards. The last step of what was
    broken off is left out, as nobody saw what it led to."""
    steps, fragments = scheduled(Problem(SMALL, COPIES))
    again = Problem(SMALL, COPIES)
    seen = again.reset([SEED + b for b in range(COPIES)])
    earned, returns = np.zeros(COPIES), []
    columns = {"observations": [], "masks": [], "actions": [], "rewards": []}  # each [T, B, ...]
    for step in steps:
        columns["observations"].append(seen[:, 0])
        columns["masks"].append(again.action_masks()[:, 0])
        columns["actions"].append(step.actions)
        seen, rewards, over, _ = again.step(step.actions[:, None])
        columns["rewards"].append(rewards[:, 0])
        earned += rewards[:, 0]
        if over.any():
            slowdowns = again.metrics()["mean_bounded_slowdown"][over]
            np.testing.assert_allclose(earned[over], 1.0 - slowdowns, rtol=1e-4, atol=1e-4)
            returns += earned[over].tolist()
            earned[over] = 0.0
            seen = again.reset(copies=np.flatnonzero(over))
    assert [x for step in steps for x in step.returns] == returns
    assert len(returns) >= 2 * COPIES
    assert {*np.unique(columns["actions"])} == {*range(SMALL.max_visible)}
    for b in range(COPIES):
        own = [x for x in fragments if x.agent == f"cluster_{b}"]
        own.sort(key=lambda x: (x.episode, x.first_step))
        count = STEPS if over[b] else STEPS - 1
        for name, expected in columns.items():
            sent = np.concatenate([getattr(x.only, name)[: len(x)] for x in own])
            np.testing.assert_array_equal(sent, np.array(expected)[:count, b], name)


def test_clusters_that_work_together_are_a_team():
    grid = Problem(Config(clusters=(16, 8), max_visible=4))
    agent = Agent(ClientSettings(address="127.0.0.1:1"))
    with pytest.raises(ValueError, match=r"clusters is \(16, 8\); this program has lone ones"):
        scheduler.Clusters(agent, grid)
    agent.close(0.0)


def test_a_program_that_gets_no_policy_ends_with_an_error():
    agent = Agent(ClientSettings(address="127.0.0.1:1", policy="jobs"))
    with pytest.raises(ValueError, match=r"127.0.0.1:1 had no policy 'jobs' in 0 minutes"):
        course.Course(agent, course.Enough(minutes=0.0))
    agent.close(0.0)


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--most-steps", "0"], "most_steps is 0; allowed is whole, at least 1"),
        (["--minutes", "-1"], "minutes is -1.0; allowed is a number from 0"),
        (["--num-envs", "0"], "num_envs is 0; it must be at least 1"),
        (["--backfill", "hard"], "backfill is 'hard'; allowed is one of"),
        ([], "missing.json cannot be read"),
    ],
)
def test_flags_that_are_wrong_are_named(flags, said, monkeypatch, capsys):
    words = ["scheduler", "--config", "missing.json", *flags]
    monkeypatch.setattr(sys, "argv", words)
    with pytest.raises(SystemExit) as ended:
        course.main(scheduler.run, None)
    told = " ".join(f"{ended.value} {capsys.readouterr().err}".replace("\u2502", " ").split())
    assert said in told
    assert ended.value.code != 0


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_it_learns_from_a_trainer(tmp_path):
    """Updates come back while it schedules, and no step is lost."""
    problem = Problem(SMALL)
    config = file_of(
        tmp_path,
        client_id="scheduler",
        algorithm_name="ppo",
        algorithm_parameters={"train_batch_size_per_learner": 128, "minibatch_size": 64},
        observation_space=spaces.to_json(problem.observation_space),
        action_space=spaces.to_json(problem.action_space),
        action_masks=True,
        max_traj_length=16,
    )
    trainer = Trainer(config)
    try:
        line = said_last(config, "--most-steps", "600", "--num-envs", "4")
        assert trainer.end() == 0
    finally:
        trainer.kill()
    assert re.search(r", 600 steps, return -\d+\.\d, version [1-9]\d*, .* lost 0$", line), line
    assert trainer.progress()[-1]["env_steps"] >= 256


def said_last(config: Path, *flags: str) -> str:
    """The last line of the program."""
    command = [
        sys.executable,
        "-m",
        "marlserve.serving.client.scheduler",
        "--config",
        str(config),
        *flags,
    ]
    for name in ("max_visible", "num_jobs", "offered_load", "num_processors"):
        command += [f"--{name.replace('_', '-')}", str(getattr(SMALL, name))]
    done = subprocess.run(command, text=True, capture_output=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()[-1]
