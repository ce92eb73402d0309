"""A trained policy in two files that need neither torch, Ray nor pickle to be read and played.

    from marlserve.policies import export

    export.write("runs/load_balance/moderate/qmix/seed_0", "served/moderate")  # of a checkpoint
    policy = export.load("served/moderate")       # greedy; for many episodes side by side
    actions = policy({agent: observations})       # {agent: [B, *O]} -> {agent: [B, *A]}
    policy.reset()                                # before other episodes

    from marlserve.policies.export.numba_policy import NumbaPolicy
    action = NumbaPolicy(export.read("served/moderate")).decide(agent, observation)  # at once

The folder has `policy.safetensors`, the weights, and `policy.json`, which says what they are and
how they act. Unlike a checkpoint, which is made of pickles, loading one runs none of its code.

- `file`: the format, and how it is read and written; `layers`: what a network is made of;
  `network`: both in memory; `spaces`: spaces as JSON
- `modules`: how each RLModule of ours is written, `rllib_modules`: those of RLlib's own algorithms;
  `from_checkpoint`: all that a checkpoint has
- `numpy_policy`: many episodes at a time, `numpy_single`: one decision; `numba_policy`: one,
  compiled, from the arrays of `numba_program` by `numba_kernel`; `checked`: what all refuse
- `noise`: how numbers are drawn by who explores, `exploring`: which modules draw them how
- `resized`: a network for more or fewer things to choose from
- `onnx_file`: a network as ONNX, for other runtimes
"""

if __name__ != "marlserve.policies.export":
    raise ImportError(
        "policies/export/ is the source folder of marlserve.policies.export; "
        f"import that, not {__name__}"
    )

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from marlserve.policies.export.file import read, save
from marlserve.policies.export.numpy_policy import NumpyPolicy

__all__ = ["load", "read", "save", "write"]


def load(path: str | Path) -> NumpyPolicy:
    """Read a policy file, ready to play.

    Raises:
        ValueError: if there is none, or it is broken, changed, or of an unknown version.
    """
    return NumpyPolicy(read(path))


def write(
    checkpoint: str | Path,
    to: str | Path,
    provenance: Mapping[str, Any] | None = None,
    features: Mapping[str, str] | None = None,
    agents: Sequence[str] | None = None,
) -> Path:
    """Write the policy file of a checkpoint of one of our algorithms; it unpickles the checkpoint.

    Args:
        checkpoint: a run folder, whose best checkpoint is taken if it has one, or what
            `Algorithm.save_to_path()` wrote.
        to: a new folder.
        provenance: JSON to be added to what the checkpoint tells of its training: algorithm,
            problem, seed, env_steps.
        features: {name: unit} of the numbers on the last axis of an observation, in order.
        agents: who plays, if there are several policies, each of which plays for the same agents
            in every episode; by default, the environment's agents, for which it is made once.

    Raises:
        ValueError: if the checkpoint is missing, broken or of another algorithm, there is
            something at `to`, or what is given does not fit.
    """
    # Here, since whoever only reads needs neither torch nor Ray.
    from marlserve.policies.export.from_checkpoint import policy_of

    return save(policy_of(Path(checkpoint), provenance or {}, features or {}, agents), to)
