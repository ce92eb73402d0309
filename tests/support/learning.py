"""How well an algorithm learns: greedy play after some steps, or as soon as it is good enough."""

import math

from ray.rllib.algorithms.algorithm_config import AlgorithmConfig

_LOOKS = 8  # on the way


def learned(
    config: AlgorithmConfig, env_steps: int, enough: float = math.inf, num_episodes: int = 120
) -> float:
    """The mean return of greedy play after so many steps; once that is more than `enough`, by
    which it is judged from time to time, training ends."""
    config.evaluation(
        evaluation_interval=10**9,  # on demand only
        evaluation_duration=num_episodes,
        evaluation_num_env_runners=0,
        evaluation_config={"explore": False, "num_envs_per_env_runner": 30},
    )
    per_iteration = config.num_envs_per_env_runner * config.get_rollout_fragment_length()
    iterations = env_steps // per_iteration
    between = iterations if enough == math.inf else math.ceil(iterations / _LOOKS)
    algorithm = config.build_algo()
    try:
        for iteration in range(1, iterations + 1):
            algorithm.training_step()
            if iteration % between == 0 or iteration == iterations:
                result = algorithm.evaluate()["env_runners"]["episode_return_mean"]
                if result > enough:
                    break
        return result
    finally:
        algorithm.stop()
