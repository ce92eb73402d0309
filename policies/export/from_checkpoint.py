"""From a checkpoint, which takes torch, Ray and pickle to read, to what a policy file holds."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import marlserve
from marlserve.policies import checkpoint
from marlserve.policies.export.modules import exported
from marlserve.policies.export.network import ANYONE, PolicyFile
from marlserve.policies.sampling.episodes import Episode
from marlserve.policies.session import quiet


def policy_of(
    path: Path,
    provenance: Mapping[str, Any],
    features: Mapping[str, str],
    agents: Sequence[str] | None,
) -> PolicyFile:
    """What `export.write` says."""
    quiet()
    folder = checkpoint.checkpoint_folder(path)
    algorithm, settings = checkpoint.algorithm_settings(folder)
    networks = {
        name: exported(
            module,
            settings["normalize_actions"],
            settings["clip_actions"],
            tuple(features.items()),
        )
        for name, module in checkpoint.modules(folder).items()
    }
    if len(networks) == 1:
        played = dict.fromkeys([ANYONE], *networks)
    else:
        names = _agents(settings) if agents is None else agents
        mapping, episode = settings["policy_mapping_fn"], Episode(tuple(names))
        played = {agent: mapping(agent, episode) for agent in names}
        networks = {name: network for name, network in networks.items() if name in played.values()}
    training = {
        "algorithm": algorithm.__module__.rpartition(".")[2],
        "problem": (settings["env_config"] or {}).get("problem"),
        "seed": settings["seed"],
        "env_steps": checkpoint.env_steps(folder),
        "marlserve": marlserve.__version__,
    }
    known = {name: value for name, value in training.items() if value is not None}
    return PolicyFile(networks, played, {**known, **provenance})


def _agents(settings: Mapping[str, Any]) -> list[str]:
    """The agents of the environment that the policies were trained in."""
    env = settings["env"]
    try:
        made = env(settings["env_config"] or {})
        agents = list(made.possible_agents)
        made.close()
    except Exception as error:  # whatever an environment may raise
        raise ValueError(
            f"there are several policies, and the environment {env!r} cannot be made to ask who "
            f"its agents are; name them in `agents`: {error!r}"
        ) from error
    return agents
