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
from marlserve.experiments.harness.run import write
from marlserve.experiments.studies.study import Study

COLUMNS = ("wall_ms", "prefill_tokens", "prefill_att", "decode_seqs", "decode_ctx")
_TRIMMED = 3.0  # median residuals: what is further off was something else, and is left out
_POINTS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 992, 1024)


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
        for tokens, ms in zip(timing.tokens, timing.ms, strict=True):
            print(f"{tokens:6g} tokens {ms:10.3f} ms")
        print(f"{timing.per_context_ms:.4g} ms per token of context")
        print(f"{timing.per_attention_ms:.4g} ms per attended token of a new one")
        print(f"residuals: median {np.median(off):.2%}, 90 % below {np.quantile(off, 0.9):.2%}")
        if self.out is not None:
            write(self.out, json.dumps(asdict(timing), indent=1))


def read(path: Path) -> pd.DataFrame:
    """The passes in a file.

    Raises:
        ValueError: if it lacks a column, or a number in one.
    """
    passes = pd.read_csv(path)
    for name in COLUMNS:
        if name not in passes:
            raise ValueError(f"{path} has no column {name}; it has {list(passes)}")
        if not np.isfinite(passes[name].to_numpy(float)).all():
            raise ValueError(f"{path}: column {name} has values that are no numbers")
    return passes


def fitted(passes: pd.DataFrame) -> TableTiming:
    """The table, with points near the passes that there are, that is the least off, relatively.

    Least squares of the relative residuals with coefficients of at least 0, twice: the second time
    without the passes that are far off.
    """
    total = (passes["prefill_tokens"] + passes["decode_seqs"]).to_numpy(float)
    near = np.abs(np.log(total[:, None] / _POINTS)).argmin(axis=1)
    points = np.array(_POINTS, float)[np.unique(near)]
    columns = [_hat(points, i, total) for i in range(len(points))]
    columns += [passes[name].to_numpy(float) for name in ("decode_ctx", "prefill_att")]
    relative = np.stack(columns, axis=1) / alone_ms(passes)[:, None]
    kept = np.ones(len(passes), bool)
    for _ in range(2):
        found = lsq_linear(relative[kept], np.ones(kept.sum()), (0.0, np.inf)).x
        off = np.abs(relative @ found - 1.0)
        kept = off <= _TRIMMED * np.median(off)
    *ms, per_context_ms, per_attention_ms = found.tolist()
    return TableTiming(tuple(points.tolist()), tuple(ms), per_context_ms, per_attention_ms)


def alone_ms(passes: pd.DataFrame) -> np.ndarray:
    """How long each would take if the engine never had to wait for a core."""
    if not {"cpu_ms", "wait_ms"} <= set(passes):
        return passes["wall_ms"].to_numpy(float)
    beside = passes["wall_ms"] - passes["cpu_ms"] - passes["wait_ms"]
    return (passes["cpu_ms"] + beside.median()).to_numpy(float)


def lengths_ms(timing: TableTiming, passes: pd.DataFrame) -> np.ndarray:
    """Of passes, by a timing."""
    total = (passes["prefill_tokens"] + passes["decode_seqs"]).to_numpy(float)
    found = np.interp(total, timing.tokens, timing.ms)
    found += timing.per_context_ms * passes["decode_ctx"].to_numpy(float)
    return found + timing.per_attention_ms * passes["prefill_att"].to_numpy(float)


def _hat(points: np.ndarray, i: int, at: np.ndarray) -> np.ndarray:
    """1 at point i, 0 at the others, linear between."""
    return np.interp(at, points, np.eye(len(points))[i])
