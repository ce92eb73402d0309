"""The jobs of an episode: a row of them in a long log, drawn or read once per split.

Several clusters have a log each, and an episode is a row of all of these in order of time.
"""

from functools import lru_cache

import numpy as np

from marlserve.envs.job_scheduling.config import Config
from marlserve.traces import lublin, swf
from marlserve.traces.job_log import JobLog

# Many to train on: 10,000 jobs are but 39 episodes that share none.
_DRAWN_JOBS = {"train": 100_000, "test": 10_000}
_SEEDS = {"train": 1, "test": 2}  # of drawn logs: no episode of one split is in the other
_ORDER = ("time_s", "run_s", "requested_s", "processors")


def log_of(config: Config) -> tuple[JobLog, int, int]:
    """A log, and which of its jobs, first and last, are those of the Config's split.

    Raises:
        ValueError: for a file that cannot be read as a log, and a split of fewer jobs than an
            episode has.
        OSError: if the file cannot be read.
    """
    if config.clusters:
        loads = config.loads or (config.offered_load,) * len(config.clusters)
        log = _merged(config.clusters, loads, config.overestimate, config.split)
        first, last = 0, len(log)
    elif config.trace == "lublin":
        what = config.num_processors, config.offered_load, config.overestimate
        log = _drawn(*what, config.split, _SEEDS[config.split])
        first, last = 0, len(log)
    else:
        log = _read(config.trace_path)
        middle = round(config.train_share * len(log))
        first, last = (0, middle) if config.split == "train" else (middle, len(log))
    if last - first < config.num_jobs:
        raise ValueError(
            f"num_jobs is {config.num_jobs}; the split {config.split!r} has {last - first} jobs"
        )
    return log, first, last


def jobs(log: JobLog, start: int, count: int) -> tuple[np.ndarray, ...]:
    """Of `count` jobs from row `start` on, what `sims.backfill.Cluster.reset` is given, or of those
    of several clusters what `sims.backfill_grid.Grid.reset` is."""
    last = "home" if "home" in log.columns else "user"
    return tuple(log[name][start : start + count] for name in (*_ORDER, last))


@lru_cache(maxsize=8)
def _merged(
    clusters: tuple[int, ...], loads: tuple[float, ...], overestimate: float, split: str
) -> JobLog:
    """The jobs that users of each cluster submit to it, its "home", as long as all logs last."""
    drawn = [
        _drawn(size, load, overestimate, split, _SEEDS[split] + len(_SEEDS) * k)
        for k, (size, load) in enumerate(zip(clusters, loads, strict=True))
    ]
    end_s = min(log.end_s for log in drawn)
    columns = {name: np.concatenate([log[name] for log in drawn]) for name in (*_ORDER, "user")} | {
        "home": np.repeat(np.arange(len(drawn)), [len(log) for log in drawn])
    }
    order = np.argsort(columns["time_s"], kind="stable")
    order = order[columns["time_s"][order] < end_s]
    columns = {name: values[order] for name, values in columns.items()}
    return JobLog(columns, end_s, 0.0, max(clusters))


@lru_cache(maxsize=16)
def _drawn(
    num_processors: int, offered_load: float, overestimate: float, split: str, seed: int
) -> JobLog:
    return lublin.load(
        np.random.default_rng(seed),
        num_jobs=_DRAWN_JOBS[split],
        num_processors=num_processors,
        offered_load=offered_load,
        overestimate=overestimate,
    )


@lru_cache(maxsize=4)
def _read(path: str) -> JobLog:
    return swf.load(path=path)
