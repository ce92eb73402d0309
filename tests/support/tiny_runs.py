"""A training that takes a second, and the files of a folder."""

from pathlib import Path

from marlserve.experiments.harness.experiment import Experiment

FEW = {"num_envs_per_env_runner": 4, "rollout_fragment_length": 8}


TINY = Experiment(
    "load_balance",
    "qmix",
    env_config={"episode_s": 2.0},
    settings={"learning_starts": 32, "train_batch_size_per_learner": 4, "sequence_length": 4},
    env_runners=FEW,
    env_steps=128,
    preset="tiny",
)


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below a folder."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
