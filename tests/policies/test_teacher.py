"""A rule that a policy learns from: who may teach, what is recorded, and that it is learned."""

import numpy as np
import pytest
import torch
from on_policy_rows import TIMESTEPS, batch_of, make_learner, make_sequences

from marlserve import policies
from marlserve.envs.job_scheduling import FEATURES, Config, Problem
from marlserve.policies.checkpoint import CheckpointPolicy
from marlserve.policies.sampling.runner import VectorEnvRunner
from marlserve.policies.sampling.teacher import TEACHER_ACTIONS, Teacher

FEW = {"num_jobs": 32, "max_visible": 8}


def config_of(**training):
    config = policies.config("ppo", problem="job_scheduling", env_config=FEW, **training)
    config.env_runners(num_envs_per_env_runner=8, rollout_fragment_length=64)
    return config.debugging(seed=0)


def agreement(policy, rule: str, copies: int = 16) -> float:
    """How often the policy does what the rule would, where there is a choice."""
    problem, same = Problem(Config(**FEW), copies), []
    teacher, seen = Teacher(rule, problem), problem.reset(range(copies))
    for _ in range(40):
        masks = problem.action_masks()
        chosen = policy({"scheduler": seen[:, 0]}, {"scheduler": masks[:, 0]})["scheduler"]
        choice = masks[:, 0, 0].sum(-1) > 1
        same += (chosen == teacher.actions(seen, masks)[:, 0])[choice].tolist()
        seen, _, terminated, truncated = problem.step(chosen[:, None])
        if (over := np.flatnonzero(terminated | truncated)).size:
            seen = problem.reset(None, over)
    return float(np.mean(same))


def test_what_it_would_do_is_recorded():
    runner = VectorEnvRunner(config=config_of(teacher="sjf_backfill"))
    (rows,) = runner.sample(num_timesteps=256)
    teacher, valid = rows[TEACHER_ACTIONS][:, :, 0], rows.valid()
    requested = rows["obs"][:, :-1, 0, :, FEATURES.index("requested_600")]
    legal = rows["action_mask"][:, :-1, 0, 0]
    shortest = np.where(legal, requested, np.inf).min(-1)
    chosen = np.take_along_axis(requested, teacher[..., None], -1)[..., 0]
    np.testing.assert_array_equal(chosen[valid], shortest[valid])
    assert (rows["actions"][:, :, 0] != teacher)[valid].any()  # it looks on
    runner.stop()


@pytest.mark.slow
def test_a_policy_learns_from_it(tmp_path):
    rule, found = "smallest_backfill", []
    algo = config_of(teacher=rule).build_algo()
    for name in ("first", "taught"):
        policy = CheckpointPolicy(algo.save_to_path(str(tmp_path / name)))
        found.append(agreement(policy, rule))
        for _ in range(8):
            result = algo.train()["learners"]["shared"]
    algo.stop()
    assert result["teacher_coeff"] == 1.0
    assert found[0] < 0.5 < 0.8 < found[1]


def learner_after(sequences, **training):
    learner = make_learner(**training)
    learner.update(batch=batch_of(learner, sequences), timesteps=TIMESTEPS)
    return [x.detach().clone() for x in learner.module["shared"].actor.parameters()]


def test_a_coefficient_of_zero_leaves_all_as_without():
    without = make_sequences()
    taught = make_sequences()
    taught.columns[TEACHER_ACTIONS] = np.zeros_like(taught["actions"])
    alone = learner_after(without)
    for coefficient, same in ((0.0, True), ([[0, 0.0], [10**9, 0.0]], True), (1.0, False)):
        found = learner_after(taught, teacher="any", teacher_coeff=coefficient)
        assert all(map(torch.equal, found, alone)) == same


@pytest.mark.parametrize(
    ("problem", "env_config", "training", "message"),
    [
        ("job_scheduling", FEW, {"teacher": "best"}, "baselines of job_scheduling are"),
        ("job_scheduling", FEW, {"teacher": "sjf"}, "another Config"),
        ("CartPole-v1", {}, {"teacher": "sjf"}, "leave teacher empty"),
        ("job_scheduling", FEW, {"teacher": "random", "observe_agent_index": True}, "one of them"),
    ],
)
def test_who_cannot_teach_is_refused(problem, env_config, training, message):
    config = policies.config("ppo", **training).environment(problem, env_config=env_config)
    with pytest.raises(ValueError, match=message):
        sampled_by(config)


def sampled_by(config):
    config.validate()
    return VectorEnvRunner(config=config)


def test_nobody_learns_what_is_masked():
    problem = Problem(Config(**FEW), 2)
    seen = problem.reset([0, 1])
    teacher = Teacher("fcfs_backfill", problem)
    with pytest.raises(ValueError, match="'fcfs_backfill' chose an action that is masked"):
        teacher.actions(seen, np.zeros_like(problem.action_masks()))
