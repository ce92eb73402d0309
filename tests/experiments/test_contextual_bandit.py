"""The experiments on the synthetic bandits, end to end, on few rounds."""

from pathlib import Path

import numpy as np
import pytest

from marlserve import envs, policies
from marlserve.envs.contextual_bandit import QUADRATIC
from marlserve.experiments.contextual_bandit import main
from marlserve.experiments.harness.run import read_experiment, read_progress
from marlserve.experiments.reports import regret
from marlserve.experiments.studies.contextual_bandit.study import random_curve

TINY = ["--preset=quadratic", "--dim=4", "--env-steps=200"]
TRAINED = ("neural_ucb", "neural_linear")
LABEL = "quadratic,dim=4"


@pytest.fixture(scope="module")
def compared(ray_session, tmp_path_factory) -> Path:
    """Where one policy was trained, and then some were compared."""
    out = tmp_path_factory.mktemp("runs")
    given = [*TINY, "--out", str(out)]
    assert main(["train", "--algorithms", "neural_ucb", "--seed", "1", *given]) == 0
    run = out / "contextual_bandit" / LABEL / "neural_ucb" / "seed_1"
    before = (run / "progress.jsonl").stat().st_mtime_ns
    assert main(["compare", "--algorithms", *TRAINED, "--seeds", "0", "1", *given]) == 0
    assert (run / "progress.jsonl").stat().st_mtime_ns == before
    return out / "contextual_bandit" / LABEL


@pytest.mark.slow
def test_compare_leaves_curves_a_table_and_a_plot(compared):
    assert {x.name for x in compared.iterdir()} == {*TRAINED, "regret.csv", "regret.md", "plots"}
    curves = regret.by_seed(regret.read(compared / "regret.csv"))
    assert set(curves) == {*TRAINED, "random", "linucb"}
    for seeds in curves.values():
        assert list(seeds) == [0, 1]
        assert all(points["pulls"].iloc[-1] == 200 for points in seeds.values())
        assert all((np.diff(points["regret"]) >= 0).all() for points in seeds.values())
    assert "regret after 200 pulls" in (compared / "regret.md").read_text()
    assert (compared / "plots" / "regret.png").exists()


@pytest.mark.slow
def test_two_hundred_rounds_teach_something(compared):
    result, _ = regret.final(regret.read(compared / "regret.csv"))
    means = dict(zip(result["policy"], result["regret"], strict=True))
    assert means["neural_ucb"] < 0.7 * min(means["random"], means["linucb"])


@pytest.mark.slow
def test_each_seed_is_an_instance_of_its_own(compared):
    for algorithm in TRAINED:
        for seed in (0, 1):
            run = read_experiment(compared / algorithm / f"seed_{seed}")
            assert run["seed"] == run["env_config"]["instance_seed"] == seed
            assert run["env_steps"] == 200


@pytest.mark.slow
def test_a_run_has_a_row_for_every_update(compared):
    rows = read_progress(compared / "neural_ucb" / "seed_0")
    assert rows["env_steps"].tolist() == list(range(20, 201, 20))


def test_the_regret_of_an_iteration_is_that_of_its_rounds(ray_session):
    """The metrics are means over exactly the newest rounds: without noise, those of the replay."""
    rounds = 128  # more than RLlib's window of 100
    settings = {"updates_per_step": 1, "episodes_per_update": rounds}
    config = policies.config("neural_linear", "contextual_bandit", {"noise_std": 0.0}, **settings)
    algorithm = config.env_runners(num_envs_per_env_runner=8).debugging(seed=0).build_algo()
    try:
        for i in range(1, 5):
            metrics = algorithm.train()["env_runners"]["problem"]
            rewards = algorithm.replay.everything()["rewards"].ravel()
            assert len(rewards) == rounds * i
            assert metrics["expected_reward"] == pytest.approx(rewards[-rounds:].mean(), rel=1e-5)
    finally:
        algorithm.stop()


def test_arms_at_random_lose_the_best_to_the_mean():
    points = random_curve(QUADRATIC, 10_050, 3)
    assert points["pulls"].iloc[-1] == 10_050
    again, other = random_curve(QUADRATIC, 10_050, 3), random_curve(QUADRATIC, 10_050, 4)
    np.testing.assert_array_equal(points, again)
    assert points["regret"].iloc[-1] != other["regret"].iloc[-1]
    problem = envs.make_batch("contextual_bandit", 5_000, function="quadratic", instance_seed=3)
    problem.reset(list(range(5_000)))
    expected = (problem.expected.max(axis=1) - problem.expected.mean(axis=1)).mean()
    assert points["regret"].iloc[-1] / 10_050 == pytest.approx(expected, rel=0.04)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("train --instance-seed 3", "instance_seed is 3; it follows from the seed: give --seeds"),
        ("plot --instance-seed 3", "instance_seed is 3"),
        ("train --dim 0", "dim is 0"),
        ("train --settings ucb_beta=-0.5", "ucb_beta is -0.5"),
    ],
)
def test_a_mistake_is_one_line(arguments, message, tmp_path, capsys):
    given = [*arguments.split(), "--preset", "cosine", "--out", str(tmp_path)]
    assert main(given) == 2
    errors = capsys.readouterr().err
    assert errors.startswith("error: ")
    assert message in errors
    assert len(errors.strip().splitlines()) == 1
    assert not list(tmp_path.rglob("experiment.json"))
