"""The KV-compression problem and NeuralUCB on it: sides of `benchmark.py`.

Prompts of 256 tokens, read by the small model. An answer is that of one arm to one prompt; beside
it there is always the full cache's, to compare with.
"""

from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from marlserve.experiments.benchmarks.learning import training
from marlserve.experiments.benchmarks.work import timed

FURTHER_ARMS = ("window_4", "snapkv_16", "tova", "a2sf_0.95")  # beside the problem's own 21
ALONE, FROM_THE_MODEL = "one arm a prompt", "NeuralUCB, asking the model"
_PROMPTS = 200  # in the table


def answers(arms: int, prompts: int):
    """A side: reading prompts and answering each with the first of the arms."""
    import torch  # with the language model, what the other benchmarks need not wait for

    from marlserve.envs.kv_compression import UNTAGGED
    from marlserve.envs.kv_compression.live import Live

    torch.set_num_threads(1)
    live, first = Live(replace(UNTAGGED, arms=(*UNTAGGED.arms, *FURTHER_ARMS))), 0

    def play() -> int:
        nonlocal first
        for index in range(first, first + prompts):
            live.outcomes(index, range(arms))
        first += prompts
        return arms * prompts

    return timed(play)


def pulls(tabled: bool):
    """A side: NeuralUCB, updates included. It starts Ray."""
    from marlserve.envs.kv_compression import UNTAGGED
    from marlserve.experiments.studies.kv_compression import tables

    problem = replace(UNTAGGED, num_prompts=_PROMPTS)
    if not tabled:
        return training(_experiment(problem).config())
    with TemporaryDirectory() as folder:  # until the table is read
        tables.make(problem, Path(folder), splits=("train",))
        return training(_experiment(replace(problem, table_path=folder)).config())


def _experiment(problem):
    from marlserve.experiments.studies.kv_compression.study import STUDY

    return STUDY.experiment(
        "untagged", "neural_ucb", problem=problem, evaluation={"evaluate_every": 0}
    )


ANSWERS = {"25 arms side by side": partial(answers, 25, 8), ALONE: partial(answers, 1, 8)}
TRAINING = {"NeuralUCB, from a table": partial(pulls, True), FROM_THE_MODEL: partial(pulls, False)}
