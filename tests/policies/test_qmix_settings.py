"""The settings of QMIX, and the algorithms by name."""

import pytest

from marlserve import policies
from marlserve.policies import qmix


@pytest.mark.parametrize(
    ("training", "message"),
    [
        ({"mixer": "qtran"}, "mixer is 'qtran'; allowed are"),
        ({"network": "deep"}, "network is 'deep'; allowed are"),
        ({"td_lambda": 1.5}, "td_lambda is 1.5"),
        ({"tau": 0.0}, "tau is 0.0"),
        ({"gamma": -0.1}, "gamma is -0.1"),
        ({"epsilon": 2.0}, "epsilon is 2.0"),
        ({"epsilon": [[5, 1.0], [9, 0.0]]}, "first timestep must be 0"),
        ({"burn_in": 16}, "burn_in is 16"),
        ({"hidden_size": 0}, "hidden_size is 0"),
        ({"sequence_length": 2.5}, "sequence_length is 2.5"),
        ({"updates_per_step": 0}, "updates_per_step is 0"),
    ],
)
def test_bad_settings_are_refused(training, message):
    with pytest.raises(ValueError, match=message):
        qmix.config(**training).validate()


def test_unknown_names_are_refused():
    with pytest.raises(ValueError, match="there is no algorithm 'qmux'"):
        policies.config("qmux")
    with pytest.raises(ValueError, match="there is no problem"):
        policies.config("qmix", problem="chess")
    with pytest.raises(ValueError, match="no problem is named"):
        policies.config("qmix", env_config={"num_servers": 3})
    with pytest.raises(TypeError, match="mixr"):
        policies.config("qmix", mixr="vdn")


def test_an_algorithm_is_a_module_with_a_config():
    assert "qmix" in policies.names()
    assert not {"base", "checkpoint", "qmix_learner", "session"} & set(policies.names())
