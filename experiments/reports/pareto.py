"""One metric of the evaluation against another, a point per policy, and the best compromises.

The Pareto front joins the policies that no other one beats in both metrics. A policy that an oracle
beats is on it all the same: the front is that of what can be deployed, and oracles are drawn apart.

Some episodes are dear for all policies alike. What an episode is above the mean in the mean over
policies is taken from it first, so that intervals are those of the differences between policies
(Cousineau 2005, "Confidence intervals in within-subject designs").
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from marlserve.experiments.reports import statistics
from marlserve.experiments.reports.plot import new_figure, save
from marlserve.experiments.reports.table import table

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.transforms import Bbox

# Where a label may be, in points from its policy's point, nearest first.
_OFFSETS = [
    (round(reach * x), round(reach * y))
    for reach in (7, 14, 22, 32, 44, 60)
    for x, y in ((1, 0.6), (1, -0.6), (-1, 0.6), (-1, -0.6), (0.2, 1.2), (0.2, -1.2))
]


def pareto(
    folder: Path,
    rows: pd.DataFrame,
    cost: str,
    value: str,
    *,
    larger_is_better: bool = True,
    name: str = "pareto",
) -> Path:
    """Draw the mean of `value` against that of `cost`, of which less is better.

    Args:
        folder: of the preset.
        rows: of results.csv; the two may be further columns of them.
        cost: on the horizontal axis.
        value: on the vertical axis.
        larger_is_better: of `value`.
        name: of the file, plots/`name`.png.
    """
    result = table(
        rows.assign(**{m: _within_episodes(rows, m) for m in (cost, value)}),
        [cost, value],
        bounds={m: statistics.bounds_of(rows[m].dropna()) for m in (cost, value)},
    )
    figure, axes = new_figure(height=4.6)
    x, y = result[cost].to_numpy(float), result[value].to_numpy(float)
    colours = [
        "C2" if o else "C1" if n else "C7"
        for o, n in zip(result["oracle"], result["training_seeds"], strict=True)
    ]
    for i, policy in result.iterrows():
        reach = [
            [[policy[m] - policy[f"{m}_low"]], [policy[f"{m}_high"] - policy[m]]]
            for m in (cost, value)
        ]
        axes.errorbar(
            *(x[i], y[i]), xerr=reach[0], yerr=reach[1], color=colours[i], fmt="o", ms=4, lw=0.5
        )
    deployable = ~result["oracle"].to_numpy(bool)
    worth = y[deployable] if larger_is_better else -y[deployable]
    on_front = front(x[deployable], worth)
    axes.plot(x[deployable][on_front], y[deployable][on_front], "k:", lw=0.9, zorder=0)
    axes.set(xlabel=cost, ylabel=value)
    axes.set(xlim=_around(x), ylim=_around(y))
    axes.grid(alpha=0.3)
    figure.draw_without_rendering()
    figure.set_layout_engine("none")  # the axes stay where they are: labels count pixels
    place_labels(axes, list(zip(x, y, strict=True)), result["policy"].tolist(), colours)
    return save(figure, folder, f"{name}.png")


def front(cost: np.ndarray, value: np.ndarray) -> np.ndarray:
    """Indices of the points that no other beats in both, by rising cost; of equal ones, one."""
    best, found = -np.inf, []
    for i in np.lexsort((-value, cost)):
        if value[i] > best:
            best = value[i]
            found.append(i)
    return np.array(found, int)


def _within_episodes(rows: pd.DataFrame, metric: str) -> pd.Series:
    """The metric without what an episode does to all policies; NaN where not all played it."""
    by_policy = rows.groupby(["episode_seed", "policy"])[metric].mean().unstack().dropna()
    means = by_policy.mean(axis=1)
    return rows[metric] - rows["episode_seed"].map(means - means.mean())


def _around(values: np.ndarray) -> tuple[float, float]:
    """Limits that give the points room. An interval that is far wider than that is cut off."""
    margin = 0.3 * np.ptp(values) or 0.1 * abs(values[0]) or 1.0
    return values.min() - margin, values.max() + margin


def place_labels(
    axes: "Axes",
    points: Sequence[tuple[float, float]],
    names: Sequence[str],
    colours: Sequence[str],
) -> "list[Bbox]":
    """Put each name at the first place where it covers no point and no name before it.

    Returns:
        where they are, in pixels. If a name has no such place, it covers as little as can be.
    """
    from matplotlib.text import Text
    from matplotlib.transforms import Bbox

    pixels = axes.transData.transform(points)
    taken = [Bbox.from_extents(px - 5, py - 5, px + 5, py + 5) for px, py in pixels]
    inside, boxes = axes.get_window_extent(), []
    canvas: Any = axes.figure.canvas  # Agg's, which has a renderer
    for point, name, colour in zip(points, names, colours, strict=True):
        best, least = None, len(taken) + 2
        for offset in _OFFSETS:
            text = axes.annotate(
                name,
                point,
                xytext=offset,
                textcoords="offset points",
                ha="left" if offset[0] > 0 else "right",
                va="center",
                fontsize="x-small",
                color=colour,
                arrowprops={"arrowstyle": "-", "lw": 0.4, "color": colour},
            )
            text.update_positions(canvas.get_renderer())
            box = Text.get_window_extent(text)  # without its line
            covered = sum(box.overlaps(other) for other in taken)
            covered += not (inside.contains(*box.min) and inside.contains(*box.max))
            if covered >= least:
                text.remove()
                continue
            if best is not None:
                best[0].remove()
            best, least = (text, box), covered
            if not covered:
                break
        assert best is not None  # the first offset covers fewer than all
        boxes.append(best[1])
        taken.append(best[1])
    return boxes
