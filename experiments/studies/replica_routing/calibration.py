"""A timing from passes that an engine recorded: a table over tokens, and what context adds.

passes.csv has one row per pass, with wall_ms (its length), prefill_tokens (new ones of prompts),
prefill_att (the sum over prompts of new tokens x (tokens before them + half of the new ones)),
decode_seqs and decode_ctx (sequences that decode, and the tokens that they attend to). Where other
processes ran beside the engine there are also cpu_ms, which its computing thread had of the pass,
and wait_ms, for which it waited for a core: then the timing is that of an engine that runs alone.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.optimize import lsq_linear

from marlserve.envs.sims.replica import TableTiming
from marlserve.envs.sims.replica_timing import pass_ns
from marlserve.experiments.harness.run import write
from marlserve.experiments.studies.study import Study

COLUMNS = ("wall_ms", "prefill_tokens", "prefill_att", "decode_seqs", "decode_ctx")
_BESIDE = ("cpu_ms", "wait_ms")
_TRIMMED = 3.0  # median residuals near a point: what is further off was something else


@dataclass(frozen=True)
class Calibrate:
    """Fit a timing to the passes of an engine; print it and what is left over."""

    passes: Path | None = None  # the file
    out: Path | None = None  # where to write the timing, as JSON

    def run(self, study: Study) -> None:
        if self.passes is None:
            raise ValueError("passes is None; name a file of passes")
        passes = read(self.passes)
        timing = fitted(passes)
        off = np.abs(lengths_ms(timing, passes) / alone_ms(passes) - 1.0)
        near = np.bincount(_nearest(np.array(timing.tokens), _tokens(passes)))
        for tokens, ms, count in zip(timing.tokens, timing.ms, near, strict=True):
            print(f"{tokens:6g} tokens {ms:10.3f} ms, by {count} passes near it")
        print(f"{timing.per_context_ms:.4g} ms per token of context")
        print(f"{timing.per_attention_ms:.4g} ms per attended token of a new one")
        print(f"residuals: median {np.median(off):.2%}, 90 % below {np.quantile(off, 0.9):.2%}")
        if self.out is not None:
            write(self.out, json.dumps(asdict(timing), indent=1))


def read(path: Path) -> pd.DataFrame:
    """The passes in a file.

    Raises:
        ValueError: if it lacks a column, has no row or a pass without tokens, or a value in it is
            no number, or negative.
    """
    passes = pd.read_csv(path)
    for name in (*COLUMNS, *(set(_BESIDE) & set(passes))):
        if name not in passes:
            raise ValueError(f"{path} has no column {name}; it has {list(passes)}")
        passes[name] = numbers(path, passes, name)
    for name, values in (("wall_ms", passes["wall_ms"]), ("tokens", pd.Series(_tokens(passes)))):
        if not len(values) or values.min() <= 0:
            raise ValueError(f"{path}: a pass has no {name}, or there is none")
    return passes


def numbers(path: Path, rows: pd.DataFrame, name: str) -> pd.Series:
    """A column, if it has numbers of at least 0.

    Raises:
        ValueError: if it has not, or is not there.
    """
    if name not in rows:
        raise ValueError(f"{path} has no column {name}; it has {list(rows)}")
    values = pd.to_numeric(rows[name], errors="coerce")
    if not (good := values.between(0.0, 1e15)).all():
        row = int(good.argmin())
        raise ValueError(
            f"{path}, row {row}: {name} is {rows[name].iloc[row]}; expected a number of at least 0"
        )
    return values


def fitted(passes: pd.DataFrame) -> TableTiming:
    """The table, with points near the passes that there are, that is the least off, relatively.

    Least squares of the relative residuals with coefficients of at least 0, twice: the second time
    without the passes that are far off those near the same point.
    """
    total, due_ms = _tokens(passes), alone_ms(passes)
    points = _points(total)
    near = _nearest(points, total)
    columns = [np.interp(total, points, hat) for hat in np.eye(len(points))]
    columns += [passes[name].to_numpy(float) for name in ("decode_ctx", "prefill_att")]
    relative = np.stack(columns, axis=1) / due_ms[:, None]
    kept = np.ones(len(passes), bool)
    for _ in range(2):
        found = lsq_linear(relative[kept], np.ones(kept.sum()), (0.0, np.inf)).x
        off = pd.Series(np.abs(relative @ found - 1.0))
        kept = (off <= _TRIMMED * off.groupby(near).transform("median")).to_numpy()
    *ms, per_context_ms, per_attention_ms = found.tolist()
    if len(ms) > 1:
        ms[-1] = max(ms[-2:])  # the table goes on from there
    return TableTiming(tuple(points.tolist()), tuple(ms), per_context_ms, per_attention_ms)


def lengths_ms(timing: TableTiming, passes: pd.DataFrame) -> np.ndarray:
    """Of passes, by a timing."""
    row = timing.row()
    of_pass = passes[["prefill_tokens", "prefill_att", "decode_seqs", "decode_ctx"]].to_numpy(float)
    return np.array([pass_ns(row, 1.0, *values) for values in of_pass]) / 1e6


def alone_ms(passes: pd.DataFrame) -> np.ndarray:
    """How long each would take if the engine never had to wait for a core."""
    if not set(_BESIDE) <= set(passes):
        return passes["wall_ms"].to_numpy(float)
    beside = passes["wall_ms"] - passes["cpu_ms"] - passes["wait_ms"]
    return (passes["cpu_ms"] + beside.median()).to_numpy(float)


def _tokens(passes: pd.DataFrame) -> np.ndarray:
    return (passes["prefill_tokens"] + passes["decode_seqs"]).to_numpy(float)


def _points(total: np.ndarray) -> np.ndarray:
    """1, 2, 3, 4, 6, 8, 12, ... where there are passes near, and the two largest passes: a full
    one may go another way."""
    largest = np.unique(total)[-2:]
    powers = 2.0 ** np.arange(np.ceil(np.log2(total.max())) + 1)
    points = np.unique(np.concatenate((powers, np.trunc(1.5 * powers), largest)))
    points = points[points <= largest[-1]]
    return points[np.unique(_nearest(points, total))]


def _nearest(points: np.ndarray, total: np.ndarray) -> np.ndarray:
    """Which point each is nearest to, by factors."""
    return np.abs(np.log(total[:, None] / points)).argmin(axis=1)
