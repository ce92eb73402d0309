"""A trained policy without its training: plays a checkpoint, needs no Ray cluster.

    policy = CheckpointPolicy("runs/load_balance/moderate/qmix/seed_0")
    actions = policy({agent: observation})        # greedy; {agent: action}
    policy.reset()                                # before another episode

The folder is a run folder, which holds `checkpoint/` and perhaps `best/`, the best one on the way,
or what `Algorithm.save_to_path()` wrote. Of a run folder, the best one plays if there is one.
Each agent is played by the policy that the checkpoint's own `policy_mapping_fn` gives it. A
checkpoint is made of pickles: load none from people you do not trust.
"""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ray.rllib.core import DEFAULT_MODULE_ID
from ray.rllib.core.columns import Columns
from ray.rllib.core.rl_module.rl_module import RLModule

from marlserve.policies.sampling.actions import ActionArrays
from marlserve.policies.sampling.agent_index import INDEXED_AGENTS, indexed
from marlserve.policies.sampling.episodes import Episode
from marlserve.policies.sampling.runner import MIXER
from marlserve.policies.sampling.sequences import ACTION_MASK
from marlserve.policies.session import quiet

_CONSTRUCTOR = "class_and_ctor_args.pkl"
_WEIGHTS = "module_state.pkl"
_IN_A_RUN = {"best": "best", "final": "checkpoint"}
_MODULES = Path("learner_group", "learner", "rl_module")


class CheckpointPolicy:
    """`{agent: observation} -> {agent: action}`, with the recurrent state kept between calls.

    Observations are [*O], or [..., *O] with leading batch axes, the same for all agents, for
    episodes side by side; the actions then have these axes too.

    Args:
        path: the folder.
        which: of a run folder, "best" or "final"; None: the best one if there is one.

    Raises:
        ValueError: for another `which`, and if the folder is missing, broken, or not the
            checkpoint of an RLlib algorithm of the new API stack.
    """

    def __init__(self, path: str | Path, which: str | None = None):
        quiet()
        self.path = _checkpoint_folder(Path(path), which)
        settings = _algorithm_settings(self.path)
        self._modules: dict[str, RLModule] = {}
        self._actions: dict[str, ActionArrays] = {}
        for folder in sorted((self.path / _MODULES).iterdir()):
            if folder.is_dir() and folder.name != MIXER:  # which plays for nobody
                module = self._modules[folder.name] = _module(folder)
                self._actions[folder.name] = ActionArrays(
                    module.action_space, settings["normalize_actions"], settings["clip_actions"]
                )
        if not self._modules:
            raise ValueError(f"{self.path / _MODULES} has no policy that can act")
        # A single-agent algorithm has one module, and no mapping of ours to ask.
        single = set(self._modules) == {DEFAULT_MODULE_ID}
        self._mapping = _default_module if single else settings["policy_mapping_fn"]
        self.reset()

    def reset(self) -> None:
        """Forget what was seen: the next observations are the first of their episodes."""
        self._states: dict[str, dict[str, torch.Tensor]] = {}
        self._batch_shape: tuple[int, ...] | None = None

    def __call__(
        self,
        observations: dict[str, np.ndarray],
        action_masks: dict[str, np.ndarray] | None = None,
    ) -> dict[str, np.ndarray]:
        """The greedy actions.

        Args:
            observations: {agent: [..., *O]}.
            action_masks: {agent: [..., H, A]}, which actions are legal; all if None.

        Raises:
            ValueError: for an observation of the wrong shape, not of numbers, or with other
                batch axes than since the last `reset()`; and for an agent without a policy.
        """
        groups: dict[str, list[str]] = {}
        episode = Episode(tuple(observations))
        for agent in observations:
            groups.setdefault(self._mapping(agent, episode), []).append(agent)
        actions: dict[str, np.ndarray] = {}
        for module_id, agents in groups.items():
            if module_id not in self._modules:
                raise ValueError(
                    f"agent {agents[0]!r} is played by policy {module_id!r}, which is not in "
                    f"{self.path}; there are {sorted(self._modules)}"
                )
            module = self._modules[module_id]
            seen = {a: self._seen(a, observations[a], module) for a in agents}
            checked = [self._checked(a, seen[a], module) for a in agents]
            masks = None if action_masks is None else [action_masks[agent] for agent in agents]
            actions |= self._act(module_id, agents, np.stack(checked), masks)
        return {agent: actions[agent] for agent in observations}

    @torch.no_grad()
    def _act(
        self, module_id: str, agents: list[str], observations: np.ndarray, masks: list | None
    ) -> dict[str, np.ndarray]:
        """Actions of the agents of one policy; observations are [n, *batch, *O]."""
        module = self._modules[module_id]
        lead = observations.shape[: 1 + len(self._batch_shape)]  # n, *batch
        stateful = module.is_stateful()
        time = (1,) if stateful else ()

        def flat(values: np.ndarray) -> torch.Tensor:
            values = np.asarray(values, np.float32)
            return torch.from_numpy(values.reshape(-1, *time, *values.shape[len(lead) :]))

        batch: dict[str, Any] = {Columns.OBS: flat(observations)}
        if masks is not None:
            batch[ACTION_MASK] = flat(np.stack(masks))
        if stateful:
            batch[Columns.STATE_IN] = self._stacked_states(module, agents, lead)
        outputs = module._forward_inference(batch)
        if stateful:
            for key, values in outputs[Columns.STATE_OUT].items():
                for agent, state in zip(agents, values.unflatten(0, lead), strict=True):
                    self._states.setdefault(agent, {})[key] = state
        if Columns.ACTIONS in outputs:
            chosen = outputs[Columns.ACTIONS]
        else:
            distribution = module.get_inference_action_dist_cls().from_logits(
                outputs[Columns.ACTION_DIST_INPUTS]
            )
            chosen = distribution.to_deterministic().sample()
        arrays = self._actions[module_id]
        chosen = arrays.to_env(chosen.numpy().reshape(*lead, *arrays.shape))
        return dict(zip(agents, chosen, strict=True))

    def _stacked_states(
        self, module: RLModule, agents: list[str], lead: tuple[int, ...]
    ) -> dict[str, torch.Tensor]:
        """The recurrent states of these agents, {name: [n * batch, ...]}."""
        first = {key: torch.as_tensor(v) for key, v in module.get_initial_state().items()}
        stacked = {}
        for key, start in first.items():
            start = start.expand(*lead[1:], *start.shape)
            states = [self._states.get(agent, {}).get(key, start) for agent in agents]
            stacked[key] = torch.stack(states).flatten(0, len(lead) - 1)
        return stacked

    def _seen(self, agent: str, observation: np.ndarray, module: RLModule) -> np.ndarray:
        """What the module sees: also the agent's index, if it was trained so."""
        config = module.model_config  # a dataclass if the algorithm is RLlib's own
        agents = config.get(INDEXED_AGENTS) if isinstance(config, dict) else None
        return observation if agents is None else indexed(np.asarray(observation), agent, agents)

    def _checked(self, agent: str, observation: np.ndarray, module: RLModule) -> np.ndarray:
        observation = np.asarray(observation)
        shape = module.observation_space.shape
        batch_shape = observation.shape[: observation.ndim - len(shape)]
        if observation.shape[len(batch_shape) :] != shape:
            raise ValueError(
                f"observation of {agent} has shape {observation.shape}; expected {shape}, after "
                "any batch axes"
            )
        if not np.isfinite(observation).all():
            raise ValueError(f"observation of {agent} has values that are not finite")
        if self._batch_shape is None:
            self._batch_shape = batch_shape
        if batch_shape != self._batch_shape:
            raise ValueError(
                f"observation of {agent} has batch axes {batch_shape}; since the last reset() "
                f"they are {self._batch_shape}"
            )
        return observation


def _default_module(agent: str, episode: Episode) -> str:
    return DEFAULT_MODULE_ID


def _checkpoint_folder(path: Path, which: str | None) -> Path:
    """The checkpoint in a run folder, or the folder itself."""
    if which not in (None, *_IN_A_RUN):
        raise ValueError(f"which is {which!r}; allowed are None, {list(_IN_A_RUN)}")
    if not path.is_dir():
        raise ValueError(f"{path} is not a folder; expected a run folder or a checkpoint")
    if which is not None:
        candidates = (path / _IN_A_RUN[which],)
    else:
        candidates = (*(path / name for name in _IN_A_RUN.values()), path)
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


def _algorithm_settings(folder: Path) -> dict[str, Any]:
    """The config that the algorithm was made with, as a dict."""
    file = folder / _CONSTRUCTOR
    try:
        args, kwargs = _unpickled(file)["ctor_args_and_kwargs"]
        settings = args[0] if args else kwargs["config"]
        return {k: settings[k] for k in ("policy_mapping_fn", "normalize_actions", "clip_actions")}
    except (KeyError, TypeError, IndexError) as error:
        raise ValueError(f"{file} does not hold the config of an algorithm: {error!r}") from error


def _module(folder: Path) -> RLModule:
    """The module in this folder, ready to act."""
    constructor, weights = _unpickled(folder / _CONSTRUCTOR), _unpickled(folder / _WEIGHTS)
    try:
        args, kwargs = constructor["ctor_args_and_kwargs"]
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
