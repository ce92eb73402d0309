"""Episodes as a dataset to learn from: a Parquet file of what was seen, done and earned.

A row is one step of one agent; rows of an episode follow each other, agent by agent. The columns
are those that RLlib's offline API reads, so that BC, MARWIL or CQL train from the file as it is,
each agent's part of an episode an episode of its own:

    eps_id       "<episode seed>/<agent>"
    agent_id     the agent
    t            the step, from 0 on
    obs          what the agent saw, flat, float32; `observation_shape` is in the metadata
    actions      what it did, in the problem's action space
    rewards      what it earned, float32
    new_obs      what it saw next
    terminateds  whether the episode was over for good
    truncateds   whether it was cut off
    action_mask  which actions were legal, flat bool, where the problem has masks

The metadata of the file, under "marlserve", is JSON: problem, Config, policy, its training seed and
run, agents, observation_shape, action_space, features (names of the last axis of an observation).
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from marlserve import __version__, envs
from marlserve.envs.base import Problem
from marlserve.experiments.harness.contestant import Contestant
from marlserve.experiments.harness.evaluate import Step, play


def record(
    contestant: Contestant,
    problem: str,
    seeds: Sequence[int],
    file: Path,
    *,
    num_envs: int = 32,
    advance: Callable[[int], object] = lambda episodes: None,
) -> int:
    """Play an episode of each seed, and write them to a Parquet file: the number of rows.

    Args:
        contestant: who plays; a learned policy acts greedily.
        problem: its name.
        seeds: of the episodes.
        file: a new one; it is there when all is written, and not before.
        num_envs: episodes that are played side by side, at most.
        advance: told how many more are done, for a progress bar.

    Raises:
        ValueError: if the file is there.
    """
    if file.exists():
        raise ValueError(f"{file} is there already; move it away, or name another folder")
    writer, partly, count = None, file.with_suffix(".partly"), 0
    try:
        for chunk in np.array_split(np.asarray(seeds), -(-len(seeds) // num_envs)):
            copies = envs.module(problem).Problem(contestant.config, len(chunk))
            steps: list[Step] = []
            play(copies, contestant.policy(copies), chunk.tolist(), steps.append)
            rows = table(steps, chunk.tolist(), copies.agents)
            if writer is None:
                about = json.dumps(_about(contestant, copies), default=str).encode()
                writer = pq.ParquetWriter(partly, rows.schema.with_metadata({"marlserve": about}))
            writer.write_table(rows)
            copies.close()
            count += len(rows)
            advance(len(chunk))
        assert writer is not None
        writer.close()
        partly.rename(file)
    finally:
        partly.unlink(missing_ok=True)
    return count


def table(steps: Sequence[Step], seeds: Sequence[int], agents: Sequence[str]) -> pa.Table:
    """The rows of B episodes that were played side by side, T steps of each at most.

    Args:
        steps: T of them.
        seeds: of the episodes, B.
        agents: N names.
    """
    acted = np.array([step.acted for step in steps]).transpose(1, 2, 0)  # [B, N, T]
    episode, agent, t = np.nonzero(acted)

    def rows(values: Sequence[np.ndarray]) -> np.ndarray:
        return np.array(values)[t, episode, agent]

    def ends(values: Sequence[np.ndarray]) -> np.ndarray:
        return np.array(values)[t, episode]

    names = np.array([[f"{seed}/{name}" for name in agents] for seed in seeds])
    columns = {
        "eps_id": pa.array(names[episode, agent]),
        "agent_id": pa.array(np.array(agents)[agent]),
        "t": pa.array(t.astype(np.int32)),
        "obs": _flat(rows([x.observations for x in steps])),
        "actions": _column(rows([x.actions for x in steps])),
        "rewards": pa.array(rows([x.rewards for x in steps]).astype(np.float32)),
        "new_obs": _flat(rows([x.next_observations for x in steps])),
        "terminateds": pa.array(ends([x.terminated for x in steps])),
        "truncateds": pa.array(ends([x.truncated for x in steps])),
    }
    masks = [x.masks for x in steps if x.masks is not None]
    if masks:
        columns["action_mask"] = _flat(rows(masks))
    return pa.table(columns)


def _flat(values: np.ndarray) -> pa.Array:
    """[rows, ...] as one list of numbers a row."""
    flat = values.reshape(len(values), -1)
    return pa.FixedSizeListArray.from_arrays(pa.array(flat.ravel()), flat.shape[1])


def _column(values: np.ndarray) -> pa.Array:
    return pa.array(values) if values.ndim == 1 else _flat(values)


def _about(contestant: Contestant, problem: Problem) -> dict[str, Any]:
    return {
        "version": __version__,
        "problem": problem.name,
        "config": asdict(contestant.config),
        "policy": contestant.name,
        "training_seed": contestant.training_seed,
        "trained": None if contestant.experiment is None else asdict(contestant.experiment),
        "agents": problem.agents,
        "observation_shape": problem.observation_space.shape,
        "action_space": repr(problem.action_space),
        "features": envs.module(problem.name).features(contestant.config),
    }
