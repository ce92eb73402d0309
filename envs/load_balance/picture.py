"""Pictures of one cluster: jobs and speed of every server, and the balancers' weights."""

import numpy as np

from marlserve.envs.pictures import drawn, limit_for, new_figure


def text(servers: np.ndarray, weights: np.ndarray, copy: np.ndarray) -> str:
    """A table of the servers [M] (dtype `cluster.SERVER`) with the weights [K, M] at the right."""
    lines = [f"{copy['clock_s']:.2f} s: {copy['completed']} completed, {copy['rejected']} rejected"]
    for j, server in enumerate(servers):
        bar = "#" * min(int(server["running"]), 40) + "." * min(int(server["waiting"]), 20)
        given = " ".join(f"{weight:.2f}" for weight in weights[:, j])
        lines.append(
            f"server {j:2d} {server['cores']:3.0f} cores x{server['speed']:.2f} "
            f"{server['running']:4d} running {server['waiting']:4d} waiting | w {given} | {bar}"
        )
    return "\n".join(lines)


def pixels(servers: np.ndarray, weights: np.ndarray, copy: np.ndarray) -> np.ndarray:
    """The same as bars: [height, width, 3] uint8."""
    figure = new_figure(6.4, 4.8)
    above, below = figure.subplots(2, 1, sharex=True)
    places, cores = np.arange(len(servers)), servers["cores"]
    colours = ["tab:blue" if speed >= 1.0 else "tab:orange" for speed in servers["speed"]]
    above.bar(places, servers["running"] / cores, color=colours)
    above.bar(places, servers["waiting"] / cores, bottom=servers["running"] / cores, color="0.6")
    above.axhline(1.0, color="0.3", linewidth=0.8)
    top = max(2.0, limit_for((servers["running"] + servers["waiting"]) / cores))
    title = f"{copy['clock_s']:.2f} s, {copy['rejected']} rejected"
    above.set(ylabel="jobs per core", ylim=(0, top), title=title)
    width = 0.8 / len(weights)
    for k, row in enumerate(weights):
        below.bar(places + (k + 0.5) * width - 0.4, row, width, label=f"lb_{k}")
    ylim = (0, limit_for(weights))
    below.set(ylabel="weight", xlabel="server", xticks=places, ylim=ylim)
    below.legend(fontsize="x-small", ncols=len(weights))
    return drawn(figure)
