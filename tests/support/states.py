"""The state of an algorithm, and whether two are the same."""

import numpy as np


def learner_state(algorithm):
    """Weights, optimizers and whatever else the algorithm's learner saves of its own."""
    (state,) = [
        result.get()
        for result in algorithm.learner_group.foreach_learner(
            lambda learner: learner.get_state()
        ).result_or_errors
    ]
    return {name: part for name, part in state.items() if name != "metrics_logger"}


def assert_same(one, other):
    assert type(one) is type(other)
    if isinstance(one, dict):
        assert one.keys() == other.keys()
        for key in one:
            assert_same(one[key], other[key])
    elif isinstance(one, list | tuple):
        for left, right in zip(one, other, strict=True):
            assert_same(left, right)
    else:
        np.testing.assert_array_equal(one, other)


def state_of(algorithm):
    """All that training goes on from."""
    state = {
        "learner": learner_state(algorithm),
        "rewards": algorithm.reward_standardizer.get_state(),
    }
    if hasattr(algorithm, "replay"):
        state["replay"] = algorithm.replay.get_state()
    return state
