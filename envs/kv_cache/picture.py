"""Pictures of one copy: its servers and queue, the price, and what is being done."""

from typing import Any

import numpy as np

from marlserve.envs.pictures import drawn, limit_for, new_figure


def text(problem: Any, copy: int) -> str:
    """A few lines."""
    state, total = problem.pool.copies[copy], problem.pool.total[copy]
    busy, servers = int(state["busy"]), problem.config.num_servers
    bar = "#" * round(40 * busy / servers)
    return (
        f"{state['clock_s']:.0f} s, {problem.price[copy]:.2f} $/MWh, {_action(problem, copy)}\n"
        f"{busy:4d} of {servers} servers busy |{bar:<40}|, {int(state['waiting'])} requests wait\n"
        f"{total['completed']:.0f} completed, {total['timed_out']:.0f} timed out, "
        f"{total['failed']:.0f} failed, {total['denied']:.0f} denied"
    )


def pixels(problem: Any, copy: int) -> np.ndarray:
    """The same as bars: [height, width, 3] uint8."""
    figure = new_figure(6.4, 2.4)
    servers, outcomes = figure.subplots(1, 2)
    state, total = problem.pool.copies[copy], problem.pool.total[copy]
    servers.bar(["busy", "waiting"], [state["busy"], state["waiting"]], color=["tab:blue", "0.6"])
    servers.axhline(problem.config.num_servers, color="0.3", linewidth=0.8)
    top = limit_for(np.array([problem.config.num_servers, state["waiting"]]))
    servers.set_ylim(0, top)
    servers.set_title(f"{state['clock_s']:.0f} s, {problem.price[copy]:.2f} $/MWh", fontsize=9)
    names = ("completed", "timed_out", "failed", "denied")
    counts = np.array([total[name] for name in names])
    outcomes.barh(names, counts)
    outcomes.set_xlim(0, limit_for(counts))
    outcomes.ticklabel_format(axis="x", style="sci", scilimits=(0, 3))
    outcomes.set_title(_action(problem, copy), fontsize=9)
    return drawn(figure)


def _action(problem: Any, copy: int) -> str:
    last = problem.last_actions[copy]
    return problem.action_names[last] if last >= 0 else "no action yet"
