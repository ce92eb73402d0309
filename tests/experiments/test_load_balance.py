"""The load balancers' commands: names of the source's scripts, policies saved and read, sweeps."""

import shutil
import signal
from dataclasses import replace

import pandas as pd
import pytest

from marlserve import policies
from marlserve.envs.load_balance import MODERATE, QUAD, Problem
from marlserve.experiments.harness import save_path
from marlserve.experiments.harness.results import read_results
from marlserve.experiments.harness.run import read_experiment
from marlserve.experiments.load_balance import main
from marlserve.experiments.studies import sweep_plan, sweep_search, sweep_trials
from marlserve.experiments.studies.load_balance import settings
from marlserve.experiments.studies.load_balance.source import MARLLB
from marlserve.experiments.studies.load_balance.study import STUDY
from marlserve.policies import export
from marlserve.policies.checkpoint import CheckpointPolicy

NAMED = "train --num-servers 16 --num-agents 4 --trace-type poisson --episode-s 2"


@pytest.fixture
def quick(monkeypatch):
    """Iterations of 32 steps."""
    training = {"learning_starts": 32, "train_batch_size_per_learner": 4, "sequence_length": 4}
    monkeypatch.setitem(settings.TRAINING, "qmix", {"moderate": training})
    few = {"num_envs_per_env_runner": 4, "rollout_fragment_length": 8}
    monkeypatch.setitem(settings.ENV_RUNNERS, "qmix", few)


def saved(folder, algorithm, **options):
    """A folder with the experiment.json of a run that never was."""
    experiment = STUDY.experiment("moderate", algorithm, **options)
    folder.mkdir(parents=True)
    (folder / "experiment.json").write_text(experiment.to_json())
    return folder


# Names -------------------------------------------------------------------------------------------


def test_names_say_what_fields_say():
    named = MARLLB(num_servers=16, num_agents=4, trace_type="poisson", episodes=10)
    problem = replace(MODERATE, **named.fields(MODERATE))
    assert problem.cores == (2,) * 10 + (4,) * 6  # of seven servers, four have 2 cores
    assert (problem.num_balancers, problem.trace) == (4, "poisson")
    assert named.arguments(problem) == {"env_steps": 10 * problem.num_steps}
    assert MARLLB(num_servers=3).fields(QUAD) == {"cores": (4, 4, 4)}
    assert MARLLB(trace_type="wiki").fields(QUAD) == {"trace": "wikipedia"}
    assert (MARLLB().fields(QUAD), MARLLB().arguments(QUAD)) == ({}, {})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("train --num-servers 3 --cores 2 2 2 2 4 4 4", "by another name of it: give one of them"),
        ("train --num-agents 2 --num-balancers=2", "num_balancers is given as 2, and as 2 by"),
        ("train --trace-type wiki --trace wikipedia", "trace is given as 'wikipedia', and as"),
        ("train --episodes 2 --env-steps 480", "env_steps is 480, and 480 by another name"),
        ("train --agent-type s_sac --num-agents 3", "num_balancers is 3; s_sac has 1"),
        ("sweep --algorithm s_sac --num-balancers 3", "num_balancers is 3; s_sac has 1"),
        ("train --agent-type s_sac --num-balancers 3", "num_balancers is 3; s_sac has 1"),
        ("train --num-servers 0", "num_servers is 0; it must be at least 1"),
        ("train --num-agents -1", "num_agents is -1; it must be at least 1"),
        ("train --episodes 0", "episodes is 0; it must be at least 1"),
        ("train --trace-type file", "trace_path is ''; allowed is a file for trace='flows'"),
        ("train --save-path {tmp}/full", "which holds ['notes.txt']; only a folder of nothing but"),
        ("train --save-path {tmp}/full/notes.txt", "which is a file; expected a folder"),
        ("train --save-path {tmp}/out/load_balance", "which overlaps the run's own folder"),
        ("evaluate --policy", "there is nothing to play: give --model, --models-dir or --policy"),
        ("evaluate --model {tmp}/none", "is not a folder; expected one of a run"),
        ("evaluate --model {tmp}/full", "is not a run: it has no experiment.json"),
        ("evaluate --model {tmp}/bare", "is neither a run folder nor a checkpoint"),
        ("evaluate --model {tmp}/bare --episodes 0", "episodes is 0; it must be at least 1"),
        ("sweep --lr 1e-2 1e-3", "lr is (0.01, 0.001); allowed is (low, high) with 0 < low < high"),
        ("sweep --hidden-sizes 32 0", "widths is (32, 0); they must be different, and at least 1"),
        ("sweep --samples 0", "samples is 0; it must be at least 1"),
        ("sweep --jobs 0", "jobs is 0; it must be at least 1"),
        ("sweep --settings hidden_size=3", "settings has ['hidden_size'], which the sweep looks"),
        ("sweep --settings mixer=3", "mixer is 3; allowed are"),
    ],
)
def test_a_mistake_is_one_line(arguments, message, tmp_path, capsys):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").write_text("mine")
    saved(tmp_path / "bare", "qmix")
    words = [word.format(tmp=tmp_path) for word in arguments.split()]
    assert main([*words, *(["--out", str(tmp_path / "out")])]) == 2
    errors = capsys.readouterr().err
    assert errors.startswith("error: ")
    assert message in errors
    assert len(errors.strip().splitlines()) == 1
    assert not (tmp_path / "out").exists()


# Policies that are saved, and read ---------------------------------------------------------------


@pytest.mark.slow
def test_a_policy_is_trained_saved_and_evaluated_by_name(ray_session, quick, tmp_path, capsys):
    path, out = tmp_path / "checkpoints" / "best", ["--out", str(tmp_path / "runs")]
    words = [*NAMED.split(), "--episodes", "10", "--save-path", str(path), *out]
    assert main(words) == 0
    experiment = read_experiment(path)
    assert experiment["env_steps"] == 80  # ten episodes of eight steps
    assert {x.name for x in path.iterdir()} == {"experiment.json", "checkpoint"}
    (run,) = (tmp_path / "runs").rglob("progress.jsonl")
    assert read_experiment(run.parent) == experiment
    assert main(words) == 0  # nothing to train, but to save once more
    assert main(["evaluate", "--model", str(path), "--policy", "sed", "--episodes", "3", *out]) == 0
    rows = read_results(run.parents[2] / "results.csv")
    assert sorted(rows["policy"]) == ["qmix"] * 3 + ["sed"] * 3
    _, config = STUDY.trained_on(path)
    problem = Problem(config, 1)
    seen = problem.reset([5])
    observations = {agent: seen[:, i] for i, agent in enumerate(problem.agents)}
    actions = CheckpointPolicy(path)(observations)
    assert {x.shape for x in actions.values()} == {(1, 16)}
    policy_file = tmp_path / "policy"
    assert main(["export", "--model", str(path), "--to", str(policy_file)]) == 0
    served = export.load(policy_file)(observations)
    assert {agent: x.tolist() for agent, x in served.items()} == {
        agent: x.tolist() for agent, x in actions.items()
    }
    assert main(["export", "--model", str(path), "--to", str(policy_file)]) == 2  # never replaced
    again = ["--episodes", "3", "--out", str(tmp_path / "again")]
    assert main(["evaluate", "--model", str(policy_file), *again]) == 0  # it knows what to play
    (played,) = (tmp_path / "again").rglob("results.csv")
    ours, theirs = (
        x[x["policy"] == "qmix"].reset_index(drop=True) for x in (read_results(played), rows)
    )
    pd.testing.assert_frame_equal(ours, theirs, rtol=1e-9)
    name = experiment["algorithm"]
    algorithm = policies.module(name).QMIX.from_checkpoint(str(path / "checkpoint"))
    algorithm.stop()


def test_what_was_saved_before_stays_if_saving_fails(tmp_path):
    run, path = saved(tmp_path / "run", "qmix"), tmp_path / "saved"
    (run / "checkpoint").mkdir()
    (run / "checkpoint" / "weights").write_text("1")
    save_path.save(run, path)
    (run / "checkpoint" / "weights").rename(run / "weights")
    (run / "checkpoint").rmdir()
    with pytest.raises(FileNotFoundError):
        save_path.save(run, path)
    assert (path / "checkpoint" / "weights").read_text() == "1"
    (run / "checkpoint").mkdir()
    save_path.save(run, path)
    assert not any((path / "checkpoint").iterdir())
    another = saved(tmp_path / "another", "vdn")
    (another / "checkpoint").mkdir()
    with pytest.raises(ValueError, match="holds the policy of another experiment"):
        save_path.save(another, path)
    shutil.rmtree(another)
    assert sorted(x.name for x in tmp_path.iterdir()) == ["run", "saved"]


def test_others_meet_what_the_policy_of_one_balancer_was_trained_on(tmp_path):
    folder = saved(tmp_path / "s_sac", "s_sac")
    assert read_experiment(folder)["env_config"]["num_balancers"] == 1
    assert STUDY.trained_on(folder) == ("moderate", MODERATE)
    one = replace(MODERATE, num_balancers=1)  # as it has anyway
    asked = saved(tmp_path / "asked", "s_sac", problem=one)
    assert STUDY.trained_on(asked) == ("moderate", MODERATE)
    (folder / "experiment.json").write_text('{"problem": "kv_cache", "algorithm": "ppo"}')
    with pytest.raises(ValueError, match="is a run on kv_cache; expected load_balance"):
        STUDY.trained_on(folder)
    (folder / "experiment.json").write_text('{"no": "thing"}')
    with pytest.raises(ValueError, match="has a broken experiment.json"):
        STUDY.trained_on(folder)


# Sweeps ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("algorithm", "expected"),
    [
        ("qmix", {"hidden_size": 8}),
        ("dqn", {"hidden_size": 8, "hidden_sizes": [8, 8]}),
        ("ppo", {"hidden_size": 8, "hidden_sizes": [8, 8]}),
    ],
)
def test_a_width_is_that_of_all_layers(algorithm, expected):
    assert sweep_plan.width_settings(policies.config(algorithm), 8) == expected


@pytest.mark.slow
@pytest.mark.timeout(600)  # its trials are processes, which take long to start on a busy machine
def test_a_sweep_is_stopped_goes_on_and_is_finished(
    ray_session, quick, tmp_path, capsys, monkeypatch
):
    words = ["sweep", "--samples", "2", "--env-steps", "288", "--episode-s", "2"]
    words += ["--evaluation-episodes", "2", "--hidden-sizes", "8", "16", "--out", str(tmp_path)]
    before = signal.getsignal(signal.SIGINT)
    real, told = sweep_trials._Report.on_trial_complete, []

    def interrupted(self, *args, **kwargs):
        real(self, *args, **kwargs)
        told.append(kwargs["trial"])
        if len(told) == 1:
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(sweep_trials._Report, "on_trial_complete", interrupted)
    assert main(words) == 130
    assert signal.getsignal(signal.SIGINT) is before
    printed = capsys.readouterr()
    assert "trial 1 of 2: lr=" in printed.out
    assert "stopped after 1 of 2 trials; the same command goes on from there" in printed.out
    folder = tmp_path / "load_balance" / "moderate,episode_s=2.0" / "sweep" / "qmix"
    assert {x.name for x in folder.iterdir()} == {"sweep.json", "tune"}
    assert main([*words, "--samples", "3"]) == 2
    assert "holds another search: samples is 2 there, 3 is asked" in capsys.readouterr().err
    assert main([*words, "--seed", "7"]) == 2
    assert "another search: experiment.seed is 100 there, 7 is" in capsys.readouterr().err
    assert main(words) == 0
    printed = capsys.readouterr().out
    assert "trial 1 of 2" not in printed
    assert "trial 2 of 2" in printed
    assert len(told) == 2
    trials = pd.read_csv(folder / "trials.csv")
    assert trials["lr"].between(1e-4, 1e-2).all()
    assert set(trials["width"]) <= {8, 16}
    steps = {sweep_plan.FINISHED: {288}, sweep_plan.STOPPED: {32, 96}}
    assert all(row["env_steps"] in steps[row["state"]] for _, row in trials.iterrows())
    assert trials["mean_latency_s"].between(0.0, 60.0).all()
    assert {x.name for x in folder.iterdir()} == {"sweep.json", "trials.csv", "table.md", "plots"}
    best = f"--settings lr={trials['lr'][0]:.3g} hidden_size={trials['width'][0]} --episode-s 2.0"
    assert best in printed
    assert main(words) == 0
    assert "is finished: not searched again" in capsys.readouterr().out
    assert len(told) == 2


def test_trials_are_in_order_and_drawn(tmp_path, monkeypatch, capsys):
    experiment = STUDY.experiment("moderate", "qmix", env_steps=900)
    asked = sweep_plan.Sweep(experiment, "mean_latency_s", (1e-4, 1e-2), (8, 16), 4)
    rows = [
        (1e-4, 8, 300, 1.0, 0.01, sweep_plan.STOPPED),
        (2e-4, 16, 900, 3.0, 0.04, sweep_plan.FINISHED),
        (3e-4, 16, 0, 0.0, float("nan"), sweep_plan.FAILED),
        (4e-4, 8, 900, 3.0, 0.03, sweep_plan.FINISHED),
    ]
    names = ["lr", "width", "env_steps", "seconds", "mean_latency_s", "state"]
    ordered = sweep_search._in_order(pd.DataFrame(rows, columns=names), asked)
    assert ordered["lr"].tolist() == [4e-4, 2e-4, 1e-4, 3e-4]
    folder = tmp_path / asked.folder
    folder.mkdir(parents=True)
    ordered.to_csv(folder / "trials.csv", index=False)
    found, trials = sweep_search.search(asked, tmp_path)
    assert found == folder
    assert "is finished: not searched again" in capsys.readouterr().out
    assert sweep_search.best_settings(asked, trials) == {"lr": 4e-4, "hidden_size": 8}
    assert (folder / "table.md").exists()
    assert (folder / "plots" / "sweep.png").exists()
