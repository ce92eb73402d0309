"""How near do passes come to what a GPU's data sheet allows, and what do timings make of them?

The table has the passes that `measure` timed, by kind, and of each kind the share of the roofline's
bound that is reached. Then two timings are fitted to every second pass, and judged by the others,
and the other way round: that of the roofline with three shares that are reached, and the table of
`calibration`. Off is by how much a time is wrong, relative to what was measured.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import pandas as pd
from scipy.optimize import minimize

from marlserve.envs.sims.replica import TableTiming
from marlserve.envs.sims.replica_roofline import GPU, GPUS, MODELS, Model, Reached, timing
from marlserve.experiments.reports.markdown import markdown_lines
from marlserve.experiments.studies.replica_routing import calibration
from marlserve.experiments.studies.study import Study

_FEW = 256  # new tokens of a prompt, up to which reading the weights takes longer, or as long


@dataclass(frozen=True)
class Bound:
    """Compare measured passes of an engine with the roofline of its GPU."""

    passes: Path | None = None  # the file
    gpu: str = "h100"  # that they were measured on
    model: str = "llama_3_8b"  # that they are of

    CHOICES: ClassVar[dict[str, tuple[str, ...]]] = {"gpu": tuple(GPUS), "model": tuple(MODELS)}

    def run(self, study: Study) -> None:
        if self.passes is None:
            raise ValueError("passes is None; name a file of passes")
        passes, gpu, model = calibration.read(self.passes), GPUS[self.gpu], MODELS[self.model]
        rows = compared(passes, gpu, model)
        print(markdown_lines(list(rows[0]), [list(row.values()) for row in rows]))
        print("All passes, in the mean of the logarithm's size:", fitted(passes, gpu, model))


def compared(passes: pd.DataFrame, gpu: GPU, model: Model) -> list[dict[str, str]]:
    """Rows of the table."""
    wall_ms = passes["wall_ms"].to_numpy(float)
    share = calibration.lengths_ms(timing(gpu, model), passes) / wall_ms
    roofline = held_out(passes, lambda half: timing(gpu, model, fitted(half, gpu, model)))
    table = held_out(passes, calibration.fitted)
    prompt, decoding = passes["prefill_tokens"], passes["decode_seqs"] > 0
    context = passes["decode_ctx"] * model.kv_bytes_per_token > model.read_bytes
    kinds = {
        "decode, more weights than context to read": (prompt == 0) & ~context,
        "decode, more context": (prompt == 0) & context,
        f"prompt, up to {_FEW} new tokens": prompt.between(1, _FEW) & ~decoding,
        "prompt, more": (prompt > _FEW) & ~decoding,
        "both": (prompt > 0) & decoding,
        "all": prompt >= 0,
    }
    rows = []
    for kind, mask in kinds.items():
        if not mask.any():
            continue
        row = {"passes": kind, "number": str(mask.sum())}
        row["share of the bound: median (from, to)"] = _percent(share[mask])
        for name, off in (("roofline", roofline[mask]), ("table", table[mask])):
            row[f"{name} off: median (most)"] = f"{np.median(off):.1%} ({off.max():.1%})"
        rows.append(row)
    return rows


def held_out(passes: pd.DataFrame, fit: Callable[[pd.DataFrame], TableTiming]) -> np.ndarray:
    """How far each pass is off what is fitted to the half that it is not in."""
    off = np.zeros(len(passes))
    for half in (0, 1):
        found = fit(passes[half::2].reset_index(drop=True))
        other = passes[1 - half :: 2]
        found_ms = calibration.lengths_ms(found, other)
        off[1 - half :: 2] = np.abs(found_ms / other["wall_ms"] - 1.0)
    return off


def fitted(passes: pd.DataFrame, gpu: GPU, model: Model) -> Reached:
    """The shares with which the roofline is the least off, in the mean of |log(it / measured)|."""
    wall_ms = passes["wall_ms"].to_numpy(float)

    def off(shares: np.ndarray) -> float:
        if not ((shares > 0) & (shares <= 1)).all():
            return np.inf
        found_ms = calibration.lengths_ms(timing(gpu, model, Reached(*shares)), passes)
        return float(np.abs(np.log(found_ms / wall_ms)).mean())

    best = minimize(off, [0.7, 0.5, 0.4], method="Nelder-Mead", options={"xatol": 1e-4})
    return Reached(*best.x.round(3).tolist())


def _percent(shares: np.ndarray) -> str:
    return f"{np.median(shares):.0%} ({shares.min():.0%}, {shares.max():.0%})"
