"""Plots of differences to `sed`: of all policies on all presets, and of the ablation."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from marlserve.experiments.reports.plot import new_figure, save

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SHOWN_PERCENT = 40.0  # what is farther to the right is an arrow at the edge, with its value
_SHOWN = ("adaptive_sed", "lsq")  # heuristics; the others are beyond
_COLOURS = {"lower": "C0", "higher": "C3"}  # of loads


def draw_ratios(
    axes: "Axes",
    ratios: pd.DataFrame,
    places: Sequence[float] | np.ndarray,
    colours: Sequence[str],
    **kwargs: Any,
) -> None:
    """Points with 95 % intervals, in % above the reference.

    Args:
        axes: where to draw; zero is the reference.
        ratios: rows of `table.ratios`.
        places: of the rows, on the vertical axis.
        colours: of the rows.
        kwargs: of `Axes.errorbar`.
    """
    means, lows, highs = (
        100.0 * (ratios[f"ratio{x}"].to_numpy(float) - 1.0) for x in ("", "_low", "_high")
    )
    for place, colour, mean, low, high in zip(places, colours, means, lows, highs, strict=True):
        if mean > SHOWN_PERCENT:
            axes.plot(SHOWN_PERCENT, place, ">", color=colour, ms=4, clip_on=False)
            axes.annotate(
                f"{mean:+,.0f} %",
                (SHOWN_PERCENT, place),
                xytext=(-5, 0),
                textcoords="offset points",
                ha="right",
                va="center",
                fontsize="xx-small",
                color=colour,
            )
            continue
        style: dict[str, Any] = {"fmt": "o", "ms": 4, "lw": 1.2} | kwargs
        axes.errorbar(mean, place, xerr=[[mean - low], [high - mean]], color=colour, **style)
    axes.axvline(0.0, color="k", lw=0.8, zorder=0)
    low, high = axes.dataLim.intervalx.clip(max=SHOWN_PERCENT)  # of all that was drawn
    margin = 0.06 * (high - low) or 1.0
    axes.set_xlim(low - margin, min(high + margin, SHOWN_PERCENT))
    axes.grid(axis="x", alpha=0.3)
    axes.tick_params(labelsize="x-small")


def overview(folder: Path, against: pd.DataFrame, presets: Mapping[str, Any]) -> Path:
    """Learned policies and the nearest heuristics against `sed` at both loads: plots/overview.png.

    Args:
        folder: runs/load_balance.
        against: see `overview.differences`.
        presets: {name: Config}; those of `against` have a panel each.
    """
    against = against[against["learned"] | against["policy"].isin(_SHOWN)]
    names = list(dict.fromkeys(against["policy"]))[::-1]  # the first one is on top
    shown = [preset for preset in presets if preset in set(against["preset"])]
    figure, row = new_figure(columns=len(shown), height=1.5 + 0.34 * len(names), sharey=True)
    for preset, axes in zip(shown, np.atleast_1d(row), strict=True):
        of_preset = against[against["preset"] == preset]
        for (end, colour), load, shift in zip(
            _COLOURS.items(), presets[preset].load, (0.15, -0.15), strict=True
        ):
            part = of_preset[of_preset["end"] == end]
            places = [names.index(name) + shift for name in part["policy"]]
            axes.plot([], [], "o-", color=colour, ms=4, label=f"load {load:g}")
            draw_ratios(axes, part, places, [colour] * len(part))
        axes.set_title(preset, fontsize="small")
        axes.legend(fontsize="xx-small", loc="upper center", bbox_to_anchor=(0.5, -0.12))
    references = against.set_index("policy")["reference"]
    references = references[~references.index.duplicated()]
    labels = [x if references[x] == "sed" else f"{x} (vs {references[x]})" for x in names]
    left = np.atleast_1d(row)[0]
    left.set_yticks(range(len(names)), labels, fontsize="small")
    left.set_ylim(-0.5, len(names) - 0.5)
    figure.supxlabel(
        f"mean latency against sed, % (arrows: beyond {SHOWN_PERCENT:g} %)", fontsize="small"
    )
    return save(figure, folder, "overview.png")


def ablation(folder: Path, factor: str, rows: pd.DataFrame, reference: str) -> Path:
    """The variations of one factor against the reference: plots/ablation_`factor`.png.

    Args:
        folder: of the ablation.
        factor: its name.
        rows: of `table.ratios`, with the columns value and standard; the first one is on top.
        reference: the heuristic that all are compared with.
    """
    figure, axes = new_figure(height=1.2 + 0.32 * len(rows))
    places = np.arange(len(rows))[::-1]
    draw_ratios(axes, rows, places, ["C3" if standard else "C0" for standard in rows["standard"]])
    labels = [
        f"{value} (standard)" if standard else value
        for value, standard in zip(rows["value"], rows["standard"], strict=True)
    ]
    axes.set_yticks(places, labels, fontsize="small")
    axes.set_ylim(-0.6, len(rows) - 0.4)
    axes.set_xlabel(
        f"mean latency against {reference}, % (arrows: beyond {SHOWN_PERCENT:g} %)",
        fontsize="small",
    )
    axes.set_title(factor, fontsize="small")
    return save(figure, folder, f"ablation_{factor}.png")
