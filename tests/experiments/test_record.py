"""Episodes as a dataset: every step once, in RLlib's columns, and something to learn from."""

import json
from importlib import import_module

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import torch
from toy_problem import Drift, DriftConfig

from marlserve import envs
from marlserve.experiments import kv_cache
from marlserve.experiments.harness.evaluate import play
from marlserve.experiments.harness.recording import table

SHORT = {
    "contextual_bandit": ["--policy", "linucb"],
    "job_scheduling": ["--policy", "sjf", "--num-jobs", "12"],
    "kv_cache": ["--policy", "random", "--episode-hours", "0.05"],
    "load_balance": ["--policy", "sed", "power_of_two", "--episode-s", "2"],
    "replica_routing": ["--policy", "kv_cost", "--episode-s", "5", "--warm-up-s", "1"],
}


def pushing(problem):
    return lambda observations, masks: {
        agent: masks[agent][:, 0].argmax(-1) for agent in problem.agents
    }


def test_the_rows_are_the_steps_of_one_episode_a_seed_and_agent():
    problem, steps = Drift(DriftConfig(), 5), []
    played = play(problem, pushing(problem), range(5), steps.append)
    rows = table(steps, range(5), problem.agents).to_pandas()
    assert len(rows) == 2 * played["duration_s"].sum() < 2 * 5 * len(steps)  # some ended early
    for seed in range(5):
        parts = [rows[rows["eps_id"] == f"{seed}/pusher_{i}"] for i in range(2)]
        assert parts[0]["rewards"].sum() == pytest.approx(played["return"][seed], rel=1e-6)
        for i, part in enumerate(parts):
            assert part["t"].tolist() == list(range(len(part)))
            ended = (part["terminateds"] | part["truncateds"]).tolist()
            assert ended == [False] * (len(part) - 1) + [True]
            obs, new_obs = np.stack(part["obs"]), np.stack(part["new_obs"])
            np.testing.assert_array_equal(obs[1:], new_obs[:-1])
            np.testing.assert_array_equal(obs[:, 1], i)
            legal = np.stack(part["action_mask"])
            assert legal[np.arange(len(part)), part["actions"]].all()
        moved = np.abs(np.stack(parts[0]["new_obs"])[:, 0])
        assert parts[0]["rewards"].to_numpy() == pytest.approx(-moved)


@pytest.mark.parametrize("problem", sorted(SHORT))
def test_every_problem_is_recorded(problem, tmp_path):
    main = import_module(f"marlserve.experiments.{problem}").main
    line = ["record", *SHORT[problem], "--episodes", "2", "--to", str(tmp_path), "--first-seed"]
    assert main([*line, "7"]) == 0
    for file in tmp_path.iterdir():
        about = json.loads(pq.read_schema(file).metadata[b"marlserve"])
        assert about["problem"] == problem
        assert about["config"].get("split", "train") == "train"
        rows = pd.read_parquet(file)
        assert set(rows["eps_id"]) == {f"{s}/{agent}" for s in (7, 8) for agent in about["agents"]}
        made = envs.make_batch(problem, **about["config"])
        assert np.stack(rows["obs"]).shape[1] == np.prod(about["observation_shape"])
        assert len(about["features"]) == about["observation_shape"][-1]
        for action in rows["actions"].head(50):
            assert made.action_space.contains(np.asarray(action, made.action_space.dtype))
    assert main([*line, "7"]) == 2  # nothing is written over
    assert main([*line, str(2**31 - 1)]) == 2  # held out


def test_what_is_held_out_is_not_recorded(tmp_path, capsys):
    line = ["record", "--policy", "random", "--split", "test", "--to", str(tmp_path)]
    assert kv_cache.main(line) == 2
    assert "split is 'test', which is held out" in capsys.readouterr().err


@pytest.mark.slow
def test_rllib_learns_from_the_file(ray_session, tmp_path):
    """Behaviour cloning of a rule."""
    from ray.rllib.algorithms.bc import BCConfig

    problem = envs.make_batch("kv_cache", episode_hours=0.5)
    line = ["--episode-hours", "0.5", "--episodes", "8", "--to", str(tmp_path)]
    assert kv_cache.main(["record", "--policy", "load_aware", *line]) == 0
    config = (
        BCConfig()
        .environment(observation_space=problem.observation_space, action_space=problem.action_space)
        .offline_data(
            input_=[str(tmp_path)],
            input_read_method="read_parquet",
            dataset_num_iters_per_learner=20,
            map_batches_kwargs={"concurrency": 1},
            iter_batches_kwargs={"prefetch_batches": 1},
        )
        .training(train_batch_size_per_learner=256, lr=1e-2)
    )
    algorithm = config.build_algo()
    algorithm.train()
    rows = pd.read_parquet(tmp_path)
    seen = {"obs": torch.from_numpy(np.stack(rows["obs"]))}
    (found,) = algorithm.learner_group.foreach_learner(
        lambda learner: learner.module["default_policy"].forward_inference(seen)
    )
    chosen = found.get()["action_dist_inputs"].argmax(-1)
    algorithm.stop()
    assert rows["actions"].value_counts(normalize=True).max() < 0.5  # it does not always do one
    assert (chosen.numpy() == rows["actions"]).mean() > 0.95
