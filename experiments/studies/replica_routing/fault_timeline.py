"""One episode around a fault: what is under way at the replica that has it, and how long requests
take that come meanwhile, by policy; plots/fault_timeline.png."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from marlserve.envs.replica_routing import Config, Problem
from marlserve.envs.sims import replica_arrays as has
from marlserve.envs.sims.gateways import DRAIN
from marlserve.experiments.harness.contestant import Contestant
from marlserve.experiments.harness.evaluate import held_out_seeds, play
from marlserve.experiments.reports.plot import new_figure, save

_BEFORE_S, _AFTER_S = 15.0, 30.0  # of the fault
_LOOK_S, _BIN_S = 0.25, 2.0  # between two looks at replicas; of arrivals whose times are one mean
_EPISODES = 50  # held-out ones, the first of which with a fault in its midst is drawn


@dataclass(frozen=True)
class Fault:
    """What happens to one replica, in seconds of the episode with its warm-up."""

    replica: int
    kind: str
    from_s: float
    until_s: float


def fault_in(config: Config, changes: np.ndarray, speeds: np.ndarray) -> Fault | None:
    """The first of an episode's changes, to something else than the replica's own speed, that has
    all of what is drawn around it within the episode; None if there is none."""
    end_s = config.warm_up_s + config.episode_s
    for i, change in enumerate(changes):
        ends = changes[i + 1 :][changes[i + 1 :]["replica"] == change["replica"]]
        recovers = change["slowness"] == 1.0 / speeds[change["replica"]]
        if len(ends) and not recovers:
            from_s, until_s = change["time_ns"] / 1e9, ends["time_ns"][0] / 1e9
            if from_s >= config.warm_up_s + _BEFORE_S and until_s + _AFTER_S <= end_s:
                return Fault(int(change["replica"]), _kind(change), from_s, until_s)
    return None


def _kind(change: np.void) -> str:
    if change["slowness"] == DRAIN:
        return "drains"
    return "is down" if change["slowness"] == 0 else "is slow"


def fault_timeline(folder: Path, config: Config, contestants: Sequence[Contestant]) -> Path | None:
    """Draw it, for the first held-out episode with a fault in its midst; None if none has one."""
    problem = Problem(config)
    for seed in held_out_seeds(_EPISODES):
        problem.reset([seed])
        if fault := fault_in(config, problem.changes[0], problem.speeds[0]):
            return _drawn(folder, fault, seed, contestants)
    return None


def _drawn(folder: Path, fault: Fault, seed: int, contestants: Sequence[Contestant]) -> Path:
    figure, panels = new_figure(rows=4, height=7.5, sharex=True)
    start_s, end_s = fault.from_s - _BEFORE_S, fault.until_s + _AFTER_S
    looks_s = np.arange(start_s, end_s, _LOOK_S)
    bins_s = np.arange(start_s, end_s + _BIN_S, _BIN_S)
    for i, contestant in enumerate(contestants):
        problem = Problem(contestant.config)
        play(problem, contestant.policy(problem), [seed])
        requests = problem.gateways.replicas.requests[0]
        tokens = prompt_tokens_at(requests, problem.config.num_replicas, looks_s)  # [T, R]
        others = np.delete(tokens, fault.replica, axis=1).mean(axis=1)
        for axes, values in zip(panels, (tokens[:, fault.replica], others), strict=False):
            axes.plot(looks_s - fault.from_s, values, f"C{i}", lw=1.0)
        served = requests[requests["status"] == has.COMPLETED]
        for axes, end in zip(panels[2:], ("first_token_ns", "last_token_ns"), strict=True):
            means = means_by_arrival(served, end, bins_s)
            axes.stairs(means, bins_s - fault.from_s, color=f"C{i}", baseline=None, lw=1.2)
        lost = np.isin(requests["status"], (has.REJECTED, has.FAILED)).sum()
        panels[0].plot([], [], f"C{i}", label=f"{contestant.name}, {lost} failed")
    labels = (
        f"prompt tokens at\nreplica {fault.replica}",
        "prompt tokens at\nanother one, mean",
        "s to the first token,\nby arrival",
        "s to the last token,\nby arrival",
    )
    for axes, label in zip(panels, labels, strict=True):
        axes.axvspan(0.0, fault.until_s - fault.from_s, color="0.9", zorder=0)
        axes.set_ylabel(label, fontsize="x-small")
        axes.tick_params(which="both", labelsize="x-small")
        axes.grid(alpha=0.3)
    for axes in panels[2:]:
        axes.set_yscale("log")
    panels[0].set_title(f"replica {fault.replica} {fault.kind}", fontsize="small")
    panels[-1].set(xlabel="seconds since then", xlim=(-_BEFORE_S, end_s - fault.from_s))
    handles, names = panels[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=3, fontsize="x-small")
    return save(figure, folder, "fault_timeline.png")


def prompt_tokens_at(requests: np.ndarray, num_replicas: int, at_s: np.ndarray) -> np.ndarray:
    """Of the requests that are at each replica at these times, [T, R]."""
    came, at_ns = requests[requests["status"] > 0], at_s[:, None] * 1e9
    there = (came["arrival_ns"] <= at_ns) & (at_ns < came["last_token_ns"])  # [T, N]
    where = came["replica"][:, None] == np.arange(num_replicas)  # [N, R]
    return there @ (came["prompt_tokens"][:, None] * where)


def means_by_arrival(served: np.ndarray, end: str, bins_s: np.ndarray) -> np.ndarray:
    """Seconds until `end` of the requests that came in each bin; NaN where none did."""
    took_s: Any = (served[end] - served["arrival_ns"]) / 1e9
    sums, counts = (
        np.histogram(served["arrival_ns"] / 1e9, bins_s, weights=weights)[0]
        for weights in (took_s, np.ones(len(served)))
    )
    return np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)
