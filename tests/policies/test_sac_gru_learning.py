"""Recurrent SAC learns what needs memory, in every action space; feed-forward SAC does not."""

import numpy as np
import pytest
from learning import learned

from marlserve import policies
from marlserve.policies.sampling.multi_agent_env import PettingZooEnv

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("ray_session")]
ROW = {"sequence_length": 4, "replay_capacity": 2_000, "train_batch_size_per_learner": 32}
SETTINGS = {
    "sac_gru": {"hidden_size": 32, **ROW},
    "sac": {"hidden_sizes": [64], **ROW, "updates_per_step": 8},
}


def config_of(name, maker, mapping=None, training=None, **kwargs):
    settings = {"learning_starts": 200, "lr": 3e-3} | SETTINGS[name] | (training or {})
    config = (
        policies.config(name, **settings)
        .environment(PettingZooEnv, env_config={"maker": maker, "kwargs": kwargs})
        .env_runners(rollout_fragment_length=4)
        .debugging(seed=0)
    )
    if mapping is not None:
        config.multi_agent(policies={"of_a0", "of_a1"}, policy_mapping_fn=mapping)
    return config


def own_policy(agent_id, episode=None, **kwargs):
    return f"of_{agent_id}"


@pytest.mark.parametrize("space", ["discrete", "multi_discrete", "box"])
def test_an_echo(space):
    """The first observation, repeated."""
    assert learned(config_of("sac_gru", "toy_memory:Echo", space=space), 1_600, 0.95) > 0.95


def test_feed_forward_is_no_echo():
    """Without memory, 1 / 4 is the most that is earned."""
    assert learned(config_of("sac", "toy_memory:Echo", space="box"), 1_600) < 1 / 4 + 0.1


@pytest.mark.parametrize("mapping", [None, own_policy], ids=["shared", "own"])
def test_recall(mapping):
    """Two agents; all but one action is illegal until each is asked for its cue: 2 at best."""
    assert learned(config_of("sac_gru", "toys:Recall", mapping), 1_600, 1.9) > 1.9


def test_feed_forward_does_not_recall():
    assert learned(config_of("sac", "toys:Recall"), 1_600) < 1.1


@pytest.mark.parametrize(("space", "burn_in"), [("discrete", 1), ("box", 0)])
def test_what_was_seen_two_rows_ago(space, burn_in):
    """Rows of 4 steps, episodes of 12: stored hidden states carry the cue, to critics too."""
    training = {"burn_in": burn_in}
    config = config_of("sac_gru", "toy_memory:Echo", training=training, space=space, length=12)
    assert learned(config, 2_600, 0.93) > 0.93


def test_two_learners_stay_alike():
    config = config_of(
        "sac_gru", "toy_memory:Echo", training={"burn_in": 1}, space="box", length=12
    )
    algorithm = config.learners(num_learners=2).build_algo()
    before = algorithm.get_module("shared").get_state()
    for _ in range(8):
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
