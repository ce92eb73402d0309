"""Pictures of one copy: its clusters, and the jobs that wait.

Rows are those of the cluster's arrays: one, or one for each of several clusters, whose `sizes` in
processors are given.
"""

from collections.abc import Sequence

import numpy as np

from marlserve.envs.pictures import drawn, new_figure
from marlserve.envs.sims.backfill import Cluster
from marlserve.envs.sims.backfill_grid import Grid


def text(cluster: Cluster | Grid, rows: Sequence[int], sizes: Sequence[int]) -> str:
    """The clusters, and the first jobs that are shown of each."""
    return "\n".join(_text(cluster, row, size) for row, size in zip(rows, sizes, strict=True))


def _text(cluster: Cluster | Grid, row: int, size: int) -> str:
    state, slots = cluster.copies[row], cluster.visible[row]
    busy = size - int(state["free"])
    bar = "#" * round(40 * busy / size)
    lines = [
        f"{state['clock_s']:.0f} s: {state['started']} of {cluster.jobs.shape[1]} jobs started",
        f"{busy:6d} of {size} processors busy |{bar:<40}|, "
        f"{int(state['running'])} jobs run, {int(state['waiting'])} wait",
    ]
    for slot in slots[: min(int(state["shown"]), 8)]:
        lines.append(
            f"job {int(slot['job']):4d} waits {slot['wait_s']:8.0f} s, requests "
            f"{slot['requested_s']:8.0f} s on {int(slot['processors']):5d} processors"
        )
    return "\n".join(lines)


def pixels(cluster: Cluster | Grid, rows: Sequence[int], sizes: Sequence[int]) -> np.ndarray:
    """Processors over time, of the jobs that have started: [height, width, 3] uint8."""
    figure = new_figure(6.4, 3.2 * len(rows))
    for axes, row, size in zip(
        figure.subplots(len(rows), squeeze=False)[:, 0], rows, sizes, strict=True
    ):
        _draw(axes, cluster, row, size)
    return drawn(figure)


def _draw(axes, cluster: Cluster | Grid, row: int, size: int) -> None:
    state, jobs = cluster.copies[row], cluster.jobs[row]
    started = jobs[jobs["start_s"] >= 0.0]
    times_s = np.concatenate((started["end_s"], started["start_s"]))
    change = np.concatenate((-started["processors"], started["processors"]))
    order = np.argsort(times_s, kind="stable")  # who ends makes room for who starts then
    hours = (times_s[order] - state["first_s"]) / 3600.0
    axes.fill_between(hours, np.cumsum(change[order]), step="post", color="tab:blue", alpha=0.6)
    axes.axhline(size, color="0.3", linewidth=0.8)
    axes.axvline((state["clock_s"] - state["first_s"]) / 3600.0, color="tab:orange")
    title = f"{int(state['waiting'])} jobs wait, {int(state['started'])} started"
    ylim = (0, 1.1 * size)
    axes.set(xlabel="hours", ylabel="processors", title=title, ylim=ylim)
