"""A trained policy without its training: plays a checkpoint, needs no Ray cluster.

    policy = CheckpointPolicy("runs/load_balance/moderate/qmix/seed_0")
    actions = policy({agent: observations})       # [B, *O] each; greedy; {agent: [B, *A]}
    policy.reset()                                # before another B episodes

The folder is a run folder, which holds `checkpoint/` and perhaps `best/`, the best one on the way,
or what `Algorithm.save_to_path()` wrote. Of a run folder, the best one plays if there is one.
Each agent is played by the policy that the checkpoint's own `policy_mapping_fn` gives it. A
checkpoint is made of pickles: load none from people you do not trust.
"""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
from ray.rllib.core import DEFAULT_MODULE_ID
from ray.rllib.core.rl_module.rl_module import RLModule

from marlserve.policies.models.gru import with_components
from marlserve.policies.sampling.actions import ActionArrays
from marlserve.policies.sampling.agent_index import INDEXED_AGENTS, indexed
from marlserve.policies.sampling.episodes import Episode
from marlserve.policies.sampling.module_actor import ModuleActor
from marlserve.policies.sampling.runner import MIXER
from marlserve.policies.session import quiet

_CONSTRUCTOR = "class_and_ctor_args.pkl"
_WEIGHTS = "module_state.pkl"
_IN_A_RUN = {"best": "best", "final": "checkpoint"}
_MODULES = Path("learner_group", "learner", "rl_module")
_ENV_RUNNER = Path("env_runner", "state.pkl")


class CheckpointPolicy:
    """`{agent: observation} -> {agent: action}`, with the recurrent state kept between calls.

    Arrays have a leading axis of B episodes that are played side by side, B = 1 for one: it is a
    `Policy` of `marlserve.envs.base`.

    Args:
        path: the folder.
        which: of a run folder, "best" or "final"; None: the best one if there is one.
        num_components: M of the observations [M, F] that are to be played, if it is not as in
            training: other servers or replicas. Networks per component play it, without
            embeddings.

    Raises:
        ValueError: for another `which`, if the folder is missing, broken, or not the checkpoint of
            an RLlib algorithm of the new API stack, and if it cannot play so many components.
    """

    def __init__(
        self, path: str | Path, which: str | None = None, num_components: int | None = None
    ):
        quiet()
        self.path = checkpoint_folder(Path(path), which)
        _, settings = algorithm_settings(self.path)
        how = settings["normalize_actions"], settings["clip_actions"]
        self._actors = {
            name: ModuleActor(name, module, ActionArrays(module.action_space, *how))
            for name, module in modules(self.path, num_components).items()
        }
        # A single-agent algorithm has one module, and no mapping of ours to ask.
        single = set(self._actors) == {DEFAULT_MODULE_ID}
        self._mapping = _default_module if single else settings["policy_mapping_fn"]
        self.reset()

    def reset(self) -> None:
        """Forget what was seen: the next observations are the first of their episodes."""
        self._hidden: dict[str, dict[str, np.ndarray]] = {}  # {agent: {part: [B, *hidden]}}
        self._num_envs = 0  # as long as nothing was seen

    def __call__(
        self,
        observations: dict[str, np.ndarray],
        masks: dict[str, np.ndarray] | None = None,
    ) -> dict[str, np.ndarray]:
        """The greedy actions, {agent: [B, *A]}.

        Args:
            observations: {agent: [B, *O]}.
            masks: {agent: [B, H, A]} bool, which actions are legal; all if None.

        Raises:
            ValueError: for an observation or a mask of the wrong shape, an observation that is
                not finite numbers, another B than since the last `reset()`, and an agent without
                a policy.
        """
        groups: dict[str, list[str]] = {}
        episode = Episode(tuple(observations))
        for agent in observations:
            groups.setdefault(self._mapping(agent, episode), []).append(agent)
        actions: dict[str, np.ndarray] = {}
        for module_id, agents in groups.items():
            if module_id not in self._actors:
                raise ValueError(
                    f"agent {agents[0]!r} is played by policy {module_id!r}, which is not in "
                    f"{self.path}; there are {sorted(self._actors)}"
                )
            actor = self._actors[module_id]
            seen = [self._checked(a, _seen(a, observations[a], actor), actor) for a in agents]
            legal = None if masks is None else self._stacked_masks(masks, agents, actor.actions)
            chosen, hidden, _ = actor.act(
                np.stack(seen, axis=1), legal, self._hidden_of(agents, actor), explore=False, t=0
            )
            chosen = actor.actions.to_env(chosen)
            for i, agent in enumerate(agents):
                actions[agent] = chosen[:, i]
                self._hidden[agent] = {part: values[:, i] for part, values in hidden.items()}
        return {agent: actions[agent] for agent in observations}

    def _hidden_of(self, agents: list[str], actor: ModuleActor) -> dict[str, np.ndarray]:
        """The hidden states of these agents, {part: [B, n, *hidden]}."""
        stacked = {}
        for part, start in actor.initial_hidden.items():
            first = np.broadcast_to(start, (self._num_envs, *start.shape))
            states = [self._hidden.get(agent, {}).get(part, first) for agent in agents]
            stacked[part] = np.stack(states, axis=1)
        return stacked

    def _stacked_masks(
        self, masks: dict[str, np.ndarray], agents: list[str], actions: ActionArrays
    ) -> np.ndarray | None:
        """The masks of these agents, [B, n, H, A]; None for an action space without choices."""
        if actions.legal is None:
            return None
        expected = (self._num_envs, *actions.legal.shape)
        for agent in agents:
            if agent not in masks:
                raise ValueError(f"there is no mask of {agent}; there are {sorted(masks)}")
            if np.shape(masks[agent]) != expected:
                raise ValueError(
                    f"mask of {agent} has shape {np.shape(masks[agent])}; expected is {expected}"
                )
        return np.stack([masks[agent] for agent in agents], axis=1)

    def _checked(self, agent: str, observation: np.ndarray, actor: ModuleActor) -> np.ndarray:
        observation = np.asarray(observation)
        shape = actor.module.observation_space.shape
        if observation.shape == shape:
            raise ValueError(
                f"observation of {agent} has shape {shape}, without a batch axis; add one for the "
                "episodes that are played side by side: observation[None] for one"
            )
        if observation.ndim != len(shape) + 1 or observation.shape[1:] != shape:
            expected = ", ".join(["B", *map(str, shape)])
            raise ValueError(
                f"observation of {agent} has shape {observation.shape}; expected is [{expected}] "
                "for B episodes side by side"
            )
        if not np.isfinite(observation).all():
            raise ValueError(f"observation of {agent} has values that are not finite")
        if not self._num_envs:
            self._num_envs = len(observation)
        if len(observation) != self._num_envs:
            raise ValueError(
                f"observation of {agent} has a batch axis of {len(observation)}; since the last "
                f"reset() it is {self._num_envs}"
            )
        return observation


def _seen(agent: str, observation: np.ndarray, actor: ModuleActor) -> np.ndarray:
    """What the module sees: also the agent's index, if it was trained so."""
    config = actor.module.model_config  # a dataclass if the algorithm is RLlib's own
    agents = config.get(INDEXED_AGENTS) if isinstance(config, dict) else None
    return observation if agents is None else indexed(np.asarray(observation), agent, agents)


def _default_module(agent: str, episode: Episode) -> str:
    return DEFAULT_MODULE_ID


def checkpoint_folder(
    path: Path, which: str | None = None, preferred: tuple[str, ...] = tuple(_IN_A_RUN)
) -> Path:
    """The checkpoint in a run folder, or the folder itself; an absolute path.

    Args:
        path: the folder.
        which: of a run folder, "best" or "final".
        preferred: if `which` is None, the ones to look for, in this order.

    Raises:
        ValueError: for another `which`, and if there is no such checkpoint.
    """
    if which not in (None, *_IN_A_RUN):
        raise ValueError(f"which is {which!r}; allowed are None, {list(_IN_A_RUN)}")
    if not path.is_dir():
        raise ValueError(f"{path} is not a folder; expected a run folder or a checkpoint")
    if which is not None:
        candidates = [path / _IN_A_RUN[which]]
    else:
        candidates = [*(path / _IN_A_RUN[name] for name in preferred), path]
    for folder in candidates:
        if (folder / _CONSTRUCTOR).is_file():
            if not (folder / _MODULES).is_dir():
                raise ValueError(
                    f"{folder} is not the checkpoint of an algorithm: it has no {_MODULES}"
                )
            return folder.resolve()
    if which is not None:
        raise ValueError(f"{path} has no {which} checkpoint: there is no {candidates[0]}")
    raise ValueError(f"{path} is neither a run folder nor a checkpoint: it has no {_CONSTRUCTOR}")


def algorithm_settings(folder: Path) -> tuple[type, dict[str, Any]]:
    """The class of the algorithm, and the config that it was made with, as a dict.

    Raises:
        ValueError: if the checkpoint does not hold them.
    """
    file = folder / _CONSTRUCTOR
    constructor = _unpickled(file)
    try:
        args, kwargs = constructor["ctor_args_and_kwargs"]
        settings = args[0] if args else kwargs["config"]
        for name in ("policy_mapping_fn", "normalize_actions", "clip_actions"):
            settings[name]
        return constructor["class"], settings
    except (KeyError, TypeError, IndexError) as error:
        raise ValueError(f"{file} does not hold the config of an algorithm: {error!r}") from error


def modules(folder: Path, num_components: int | None = None) -> dict[str, RLModule]:
    """The modules that act, {module_id: module}, in the order of their names.

    Raises:
        ValueError: if there is none, or one is broken, or cannot play so many components.
    """
    every = {
        part.name: _module(part, num_components)
        for part in sorted((folder / _MODULES).iterdir())
        if part.is_dir() and part.name != MIXER  # which plays for nobody
    }
    if not every:
        raise ValueError(f"{folder / _MODULES} has no policy that can act")
    return every


def env_steps(folder: Path) -> int | None:
    """Environment steps that were sampled before the checkpoint, if it tells."""
    if not (folder / _ENV_RUNNER).is_file():
        return None
    return _unpickled(folder / _ENV_RUNNER).get("num_env_steps_sampled_lifetime")


def _module(folder: Path, num_components: int | None) -> RLModule:
    """The module in this folder, ready to act."""
    constructor, weights = _unpickled(folder / _CONSTRUCTOR), _unpickled(folder / _WEIGHTS)
    try:
        args, kwargs = constructor["ctor_args_and_kwargs"]
        if num_components is not None:
            spaces = kwargs["observation_space"], kwargs["action_space"]
            seen, chosen = with_components(*spaces, num_components)
            kwargs = {**kwargs, "observation_space": seen, "action_space": chosen}
        module = constructor["class"](*args, **{**kwargs, "inference_only": True})
        module.set_state(weights)
    except (KeyError, TypeError, AttributeError, RuntimeError, ValueError) as error:
        raise ValueError(f"{folder} does not hold a policy that can act: {error!r}") from error
    return module.eval()


def _unpickled(file: Path) -> Any:
    try:
        with file.open("rb") as stream:
            return pickle.load(stream)
    except FileNotFoundError as error:
        raise ValueError(f"the checkpoint is incomplete: there is no {file}") from error
    except (pickle.UnpicklingError, EOFError, ImportError, AttributeError, IndexError) as error:
        raise ValueError(f"{file} cannot be read: {error!r}") from error
