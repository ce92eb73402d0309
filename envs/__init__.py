"""The problems. The name of a problem is the name of its module.

`make` gives a PettingZoo `ParallelEnv`, `make_batch` the same problem as arrays of B copies, and
`register` announces all of them to RLlib. Gymnasium knows them from the import on, and takes those
with one agent: `gymnasium.make("marlserve:marlserve/KvCache-v0")`; see `envs.single_agent`.
"""

if __name__ != "marlserve.envs":
    raise ImportError(f"envs/ is the source folder of marlserve.envs; import that, not {__name__}")

from importlib import import_module
from pkgutil import iter_modules

from marlserve.envs import single_agent
from marlserve.envs.base import ParallelView, Policy, Problem
from marlserve.envs.single_agent import SingleAgentView

__all__ = [
    "ParallelView",
    "Policy",
    "Problem",
    "SingleAgentView",
    "make",
    "make_batch",
    "names",
    "register",
]

_NOT_PROBLEMS = {"base", "checks", "linear_bandits", "sims", "single_agent"}


def names() -> list[str]:
    """All problems."""
    return sorted({module.name for module in iter_modules(__path__)} - _NOT_PROBLEMS)


def module(name: str):
    """The module of problem `name`: its Config, REWARDS and BASELINES.

    Raises:
        ValueError: if there is no such problem.
    """
    if name not in names():
        raise ValueError(f"there is no problem {name!r}; there are {names()}")
    return import_module(f"marlserve.envs.{name}")


def make_batch(name: str, num_envs: int = 1, **config) -> Problem:
    """Problem `name` as arrays of `num_envs` copies; `config` are fields of its Config.

    Raises:
        ValueError: for an unknown problem or a bad value.
        TypeError: for a field that the Config does not have.
    """
    problem = module(name)
    return problem.Problem(problem.Config(**config), num_envs)


def make(name: str, render_mode: str | None = None, **config) -> ParallelView:
    """Problem `name` as a PettingZoo `ParallelEnv`; arguments and errors as for `make_batch`."""
    return ParallelView(make_batch(name, 1, **config), render_mode)


def register() -> None:
    """Announce every problem to RLlib by its name, e.g. `.environment("load_balance")`, and to
    Gymnasium by its id, e.g. "marlserve/KvCache-v0"."""
    from ray.rllib.env.wrappers.pettingzoo_env import ParallelPettingZooEnv
    from ray.tune.registry import register_env

    for name in names():
        register_env(name, lambda config, name=name: ParallelPettingZooEnv(make(name, **config)))
        single_agent.announce(name)


for _name in names():
    single_agent.announce(_name)
