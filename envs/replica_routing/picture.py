"""Pictures of the replicas of one copy: their requests, and how full their caches are."""

import numpy as np

from marlserve.envs.pictures import drawn, limit_for, new_figure


def text(replicas: np.ndarray, copy: np.void, num_blocks: np.ndarray) -> str:
    """A table of the replicas [R] (dtype `replica_arrays.REPLICA`), with so many blocks each."""
    completed, lost = replicas["completed"].sum(), replicas["rejected"].sum()
    usage = _usage(replicas, num_blocks)
    lines = [f"{copy['clock_ns'] / 1e9:.2f} s: {completed} completed, {lost} failed"]
    for j, replica in enumerate(replicas):
        bar = "#" * min(int(replica["running"]), 40) + "." * min(int(replica["waiting"]), 20)
        speed = 0.0 if replica["down"] else 1.0 / replica["slowness"]
        lines.append(
            f"replica {j:2d} x{speed:.2f} {replica['running']:4d} running "
            f"{replica['waiting']:4d} waiting, {usage[j]:4.0%} of cache | {bar}"
        )
    return "\n".join(lines)


def pixels(replicas: np.ndarray, copy: np.void, num_blocks: np.ndarray) -> np.ndarray:
    """The same as bars: [height, width, 3] uint8."""
    figure = new_figure(6.4, 4.8)
    above, below = figure.subplots(2, 1, sharex=True)
    places = np.arange(len(replicas))
    colours = ["0.6" if down else "tab:blue" for down in replicas["down"]]
    above.bar(places, replicas["running"], color=colours)
    above.bar(places, replicas["waiting"], bottom=replicas["running"], color="tab:orange")
    top = limit_for(replicas["running"] + replicas["waiting"])
    above.set(ylabel="requests", ylim=(0, top), title=f"{copy['clock_ns'] / 1e9:.2f} s")
    below.bar(places, _usage(replicas, num_blocks), color=colours)
    below.set(ylabel="cache in use", xlabel="replica", xticks=places, ylim=(0, 1))
    return drawn(figure)


def _usage(replicas: np.ndarray, num_blocks: np.ndarray) -> np.ndarray:
    return 1.0 - (replicas["num_free"] + replicas["num_idle"]) / num_blocks
