"""Pictures of one copy: its cluster, and the jobs that wait."""

import numpy as np

from marlserve.envs.pictures import drawn, new_figure
from marlserve.envs.sims.backfill import Cluster


def text(cluster: Cluster, copy: int) -> str:
    """The cluster, and the first jobs that are shown."""
    state, slots = cluster.copies[copy], cluster.visible[copy]
    busy = cluster.num_processors - int(state["free"])
    bar = "#" * round(40 * busy / cluster.num_processors)
    lines = [
        f"{state['clock_s']:.0f} s: {state['started']} of {cluster.jobs.shape[1]} jobs started",
        f"{busy:6d} of {cluster.num_processors} processors busy |{bar:<40}|, "
        f"{int(state['running'])} jobs run, {int(state['waiting'])} wait",
    ]
    for slot in slots[: min(int(state["shown"]), 8)]:
        lines.append(
            f"job {int(slot['job']):4d} waits {slot['wait_s']:8.0f} s, requests "
            f"{slot['requested_s']:8.0f} s on {int(slot['processors']):5d} processors"
        )
    return "\n".join(lines)


def pixels(cluster: Cluster, copy: int) -> np.ndarray:
    """Processors over time, of the jobs that have started: [height, width, 3] uint8."""
    state, jobs = cluster.copies[copy], cluster.jobs[copy]
    started = jobs[jobs["start_s"] >= 0.0]
    figure = new_figure(6.4, 3.2)
    axes = figure.subplots()
    times_s = np.concatenate((started["end_s"], started["start_s"]))
    change = np.concatenate((-started["processors"], started["processors"]))
    order = np.argsort(times_s, kind="stable")  # who ends makes room for who starts then
    hours = (times_s[order] - state["first_s"]) / 3600.0
    axes.fill_between(hours, np.cumsum(change[order]), step="post", color="tab:blue", alpha=0.6)
    axes.axhline(cluster.num_processors, color="0.3", linewidth=0.8)
    axes.axvline((state["clock_s"] - state["first_s"]) / 3600.0, color="tab:orange")
    title = f"{int(state['waiting'])} jobs wait, {int(state['started'])} started"
    ylim = (0, 1.1 * cluster.num_processors)
    axes.set(xlabel="hours", ylabel="processors", title=title, ylim=ylim)
    return drawn(figure)
