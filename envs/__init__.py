"""The problems. The name of a problem is the name of its module.

`make` gives a PettingZoo `ParallelEnv`, `make_batch` the same problem as arrays of B copies, and
`register` announces all of them to RLlib. Gymnasium knows them from the import on, and takes those
with one agent: `gymnasium.make("marlserve:marlserve/KvCache-v0")`; see `envs.single_agent`.
PettingZoo's own `parallel_env`, `env` and `raw_env` are in each problem's module.

A further problem is a further module or package here, and nothing else: all of the above, and the
tests of what problems promise, find it by its name. In it are

- the docstring, its manual, with the lines Agents, Observation, Action, Reward, Episode, Reference;
- `Config`, a frozen dataclass with defaults that run, and presets of it in `PRESETS`;
- `Problem`, a subclass of `base.Problem`;
- `Measured`, the plain numbers that an agent could know, with `Problem.measured()`, which gives
  those of all copies, and `observe(measured, config)`, which makes observations of them: in a
  package they are in `observation`;
- `features(config)`, the names of the numbers on the last axis of an observation, in order;
- `REWARDS`, functions by name, and `BASELINES`, each a `base.Baseline`;
- `parallel_env`, `raw_env` and `env`, three lines: see `envs.parallel`.
"""

if __name__ != "marlserve.envs":
    raise ImportError(f"envs/ is the source folder of marlserve.envs; import that, not {__name__}")

from importlib import import_module
from pkgutil import iter_modules
from types import ModuleType
from typing import Any

from marlserve.envs import single_agent
from marlserve.envs.base import Baseline, Policy, Problem
from marlserve.envs.parallel import RENDER_MODES, ParallelView
from marlserve.envs.single_agent import SingleAgentView

__all__ = [
    "Baseline",
    "ParallelView",
    "Policy",
    "Problem",
    "SingleAgentView",
    "make",
    "make_batch",
    "make_single_agent",
    "module",
    "names",
    "register",
]

_NOT_PROBLEMS = {
    "actions",
    "base",
    "checks",
    "linear_bandits",
    "off_policy_estimates",
    "parallel",
    "pictures",
    "sims",
    "single_agent",
}


def names() -> list[str]:
    """All problems."""
    return sorted({module.name for module in iter_modules(__path__)} - _NOT_PROBLEMS)


def module(name: str) -> ModuleType:
    """The module of problem `name`: its Config, REWARDS and BASELINES.

    Raises:
        ValueError: if there is no such problem.
    """
    if name not in names():
        raise ValueError(f"there is no problem {name!r}; there are {names()}")
    return import_module(f"marlserve.envs.{name}")


def make_batch(name: str, num_envs: int = 1, **config: Any) -> Problem:
    """Problem `name` as arrays of `num_envs` copies; `config` are fields of its Config.

    Raises:
        ValueError: for an unknown problem or a bad value.
        TypeError: for a field that the Config does not have.
    """
    problem = module(name)
    return problem.Problem(problem.Config(**config), num_envs)


def make(name: str, render_mode: str | None = None, **config: Any) -> ParallelView:
    """Problem `name` as a PettingZoo `ParallelEnv`; arguments and errors as for `make_batch`."""
    return ParallelView(make_batch(name, 1, **config), render_mode)


def make_single_agent(
    problem: str, render_mode: str | None = None, **config: Any
) -> SingleAgentView:
    """Problem `problem` as a Gymnasium environment; errors as for `make`, and where it has several
    agents."""
    return SingleAgentView(make(problem, render_mode, **config))


# Gymnasium looks here for the modes from which it can make "rgb_array_list".
make_single_agent.metadata = {"render_modes": list(RENDER_MODES)}  # type: ignore[attr-defined]


def register() -> None:
    """Announce every problem to RLlib by its name, e.g. `.environment("load_balance")`, and to
    Gymnasium by its id, e.g. "marlserve/KvCache-v0"."""
    from ray.rllib.env.wrappers.pettingzoo_env import ParallelPettingZooEnv
    from ray.tune.registry import register_env

    def creator(name: str):
        def create(config):
            return ParallelPettingZooEnv(make(name, **config))

        # What our own env runner calls in place of it.
        create.make_arrays = lambda config, num_envs: make_batch(  # type: ignore[attr-defined]
            name, num_envs, **config
        )
        return create

    for name in names():
        register_env(name, creator(name))
        single_agent.announce(name)


for _name in names():
    single_agent.announce(_name)
