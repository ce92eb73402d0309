"""Tiny deterministic RLModules, and the config and runner to sample toys with them."""

import torch
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.rllib.core.columns import Columns
from ray.rllib.core.rl_module.multi_rl_module import MultiRLModuleSpec
from ray.rllib.core.rl_module.rl_module import RLModuleSpec
from ray.rllib.core.rl_module.torch import TorchRLModule

from marlserve.policies.sampling.multi_agent_env import PettingZooEnv
from marlserve.policies.sampling.runner import VectorEnvRunner
from marlserve.policies.sampling.sequences import Sequences


def decide(signal, mask):
    """A deterministic legal action: the signal picks among the legal ones."""
    number = (signal * 1000).floor().long()
    legal = torch.ones(*signal.shape, 3) if mask is None else mask.squeeze(-2)
    chosen = number.remainder(legal.sum(-1).long())
    ranks = legal.cumsum(-1) - 1
    return ((ranks == chosen[..., None]) & (legal > 0)).float().argmax(-1)


class Reflex(TorchRLModule):
    """Feed-forward: acts by the last number that it sees, element by element, hence exactly."""

    def _forward(self, batch, t=None, **kwargs):
        return {Columns.ACTIONS: decide(batch[Columns.OBS][..., 0], batch.get("action_mask"))}


class Memory(TorchRLModule):
    """Recurrent: a decaying sum of all that it saw decides."""

    def get_initial_state(self):
        return {"h": torch.full((2,), 0.25)}

    def _forward(self, batch, t=None, **kwargs):
        assert not self.training
        assert batch[Columns.OBS].shape[1] == 1
        hidden = 0.5 * batch[Columns.STATE_IN]["h"] + batch[Columns.OBS][:, 0, :2]
        actions = decide(hidden[:, None, 0] + hidden[:, None, 1], batch.get("action_mask"))
        return {Columns.ACTIONS: actions, Columns.STATE_OUT: {"h": hidden}}


class Clock(TorchRLModule):
    """Explores with the clock: remembers every `t`."""

    times = ()

    def _forward_exploration(self, batch, t, **kwargs):
        self.times = (*self.times, t)
        return {Columns.ACTIONS: torch.ones(len(batch[Columns.OBS]), dtype=torch.long)}

    def _forward_inference(self, batch, **kwargs):
        return {Columns.ACTIONS: torch.zeros(len(batch[Columns.OBS]), dtype=torch.long)}


class ToyConfig(AlgorithmConfig):
    """Of no algorithm: only good for sampling, in rows of 4 steps with the global state."""

    needs_state = True

    def __init__(self):
        super().__init__()
        self.sequence_length = 4
        self.env_runners(
            num_env_runners=0,
            rollout_fragment_length=10,
            batch_mode="truncate_episodes",
            env_runner_cls=VectorEnvRunner,
        )

    def get_default_rl_module_spec(self):
        return RLModuleSpec(module_class=Reflex)


def config_of(toy, module=Reflex, num_envs=3, policies=("shared",), seed=5, **kwargs):
    """A config for a toy of `toys`, or "module:name"; agents are dealt to policies in turn."""
    mapping = {f"a{i}": policies[i % len(policies)] for i in range(9)}
    maker = toy if ":" in toy else f"toys:{toy}"
    specs = module if isinstance(module, dict) else dict.fromkeys(policies, module)
    return (
        ToyConfig()
        .environment(
            PettingZooEnv,
            env_config={"maker": maker, "kwargs": kwargs},
        )
        .env_runners(num_envs_per_env_runner=num_envs)
        .multi_agent(
            policies=set(policies),
            policy_mapping_fn=lambda agent, episode, **kw: mapping.get(agent, policies[0]),
        )
        .rl_module(
            rl_module_spec=MultiRLModuleSpec(
                rl_module_specs={
                    name: RLModuleSpec(module_class=cls) for name, cls in specs.items()
                }
            )
        )
        .debugging(seed=seed)
    )


def runner_of(toy, *args, worker_index=0, **kwargs):
    return VectorEnvRunner(config=config_of(toy, *args, **kwargs), worker_index=worker_index)


def sample(runner, **kwargs) -> Sequences:
    (sequences,) = runner.sample(**kwargs)
    return sequences
