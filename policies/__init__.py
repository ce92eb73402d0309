"""The algorithms, as RLlib configurations. The name of an algorithm is the name of its module.

    from marlserve import policies
    algo = policies.config("qmix", problem="load_balance").build_algo()

`restore` goes on with what was trained, and `checkpoint.CheckpointPolicy` plays it without Ray.
"""

if __name__ != "marlserve.policies":
    raise ImportError(
        f"policies/ is the source folder of marlserve.policies; import that, not {__name__}"
    )

from importlib import import_module
from pkgutil import iter_modules
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from ray.rllib.algorithms.algorithm import Algorithm
    from ray.rllib.algorithms.algorithm_config import AlgorithmConfig

__all__ = ["config", "module", "names", "restore"]


def names() -> list[str]:
    """All algorithms: the modules here that have a `config()`."""
    modules = sorted(module.name for module in iter_modules(__path__))
    return [name for name in modules if hasattr(import_module(f"{__name__}.{name}"), "config")]


def module(name: str):
    """The module of algorithm `name`.

    Raises:
        ValueError: if there is no such algorithm.
    """
    if name not in names():
        raise ValueError(f"there is no algorithm {name!r}; there are {names()}")
    return import_module(f"{__name__}.{name}")


def config(
    name: str, problem: str | None = None, env_config: dict | None = None, **training
) -> "AlgorithmConfig":
    """The RLlib config of algorithm `name`, ready for `build_algo()` if a problem is given.

    Args:
        name: of the algorithm.
        problem: name of one of `marlserve.envs`. Without it, call `.environment()` yourself, with
            such a name, an id of Gymnasium, or a class of `sampling.multi_agent_env`.
        env_config: fields of the problem's Config.
        training: settings of the algorithm, arguments of its config's `training()`.

    Raises:
        ValueError: for an unknown algorithm, problem, setting or field of the problem's Config,
            with those that there are; and for `env_config` without a problem.
    """
    result = module(name).config(**training)
    if problem is None:
        if env_config:
            raise ValueError(f"env_config is {env_config!r}, but no problem is named")
        return result
    from marlserve.policies.sampling.multi_agent_env import ProblemEnv, problem_and_fields

    settings = {"problem": problem, **(env_config or {})}
    problem_and_fields(settings)  # or it says what is wrong
    return result.environment(ProblemEnv, env_config=settings)


def restore(path: "str | Path", which: str | None = None) -> "Algorithm":
    """The algorithm that a checkpoint was made of, to train it further or to evaluate it.

    RLlib's own `Algorithm.from_checkpoint` takes absolute paths and URIs only.

    Args:
        path: a run folder, which holds `checkpoint/` and perhaps `best/`, or what
            `Algorithm.save_to_path()` wrote; it may be relative.
        which: of a run folder, "best" or "final"; None: the final one, from which training goes on.

    Raises:
        ValueError: for another `which`, and if there is no such checkpoint.
    """
    from pathlib import Path

    from ray.rllib.algorithms.algorithm import Algorithm

    from marlserve.policies import session
    from marlserve.policies.checkpoint import checkpoint_folder

    session.quiet()
    folder = checkpoint_folder(Path(path), which, preferred=("final", "best"))
    return Algorithm.from_checkpoint(str(folder))
