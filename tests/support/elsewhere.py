"""A program of another project: it restores the checkpoint that it is given, and trains on.

test_packaging runs it with the Python of that project. It prints where a Ray worker finds
marlserve, then the checksum of the weights in each env runner, the local one first.
"""

import sys

import ray
from ray.rllib.algorithms.algorithm import Algorithm

from marlserve.policies import session


def checksum(env_runner) -> float:
    """The sum of all absolute weights of an env runner's policies."""
    policies = env_runner.module.get_state().values()
    return float(sum(abs(weight).sum() for policy in policies for weight in policy.values()))


def origin() -> str:
    import marlserve.envs

    return marlserve.envs.__file__


def main(checkpoint: str) -> None:
    session.start(num_cpus=2)
    print(ray.get(ray.remote(origin).remote()))
    algorithm = Algorithm.from_checkpoint(checkpoint)
    for value in algorithm.env_runner_group.foreach_env_runner(checksum):
        print(repr(value))
    before = algorithm.training_iteration
    algorithm.train()
    assert algorithm.training_iteration == before + 1
    algorithm.stop()
    session.stop()


if __name__ == "__main__":
    main(sys.argv[1])
