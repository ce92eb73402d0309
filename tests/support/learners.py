"""What two learners of one algorithm must have in common."""

import numpy as np


def check_two_stay_alike(config, iterations: int) -> None:
    """They learn something, and have the same weights after it, which have all moved."""
    algorithm = config.learners(num_learners=2).build_algo()
    before = algorithm.get_module("shared").get_state()
    for _ in range(iterations):
        result = algorithm.train()
    states = [
        each.get()["shared"]
        for each in algorithm.learner_group.foreach_learner(
            lambda learner: learner.module.get_state()
        ).result_or_errors
    ]
    algorithm.stop()
    assert result["learners"]["shared"]["critic_loss"] > 0
    for name, weights in states[0].items():
        np.testing.assert_array_equal(weights, states[1][name])
        assert name not in before or (weights != before[name]).any(), name
