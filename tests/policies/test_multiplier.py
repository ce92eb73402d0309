"""The price of a constraint: what it follows from, what it does, and that it is saved."""

import numpy as np
import pytest
from on_policy_rows import make_sequences
from ray.rllib.algorithms.algorithm import Algorithm

from marlserve import policies
from marlserve.policies.sampling.sequences import Sequences
from marlserve.policies.training.multiplier import Multiplier

CROWDED = {  # a floor that nothing meets
    "num_servers": 20,
    "request_scale": 0.2,
    "episode_hours": 0.1,
    "weeks": 2,
    "service_floor": 1.0,
}


def with_costs(values) -> Sequences:
    sequences = make_sequences()
    costs = np.broadcast_to(np.float32(values), sequences["rewards"].shape)
    return Sequences({**sequences.columns, "costs": costs})


def test_the_price_rises_while_the_constraint_is_broken_and_falls_to_nothing():
    multiplier, prices = Multiplier(rate=0.5), []
    for cost in (3.0, 3.0, -3.0, -3.0, -3.0):
        multiplier.observe(with_costs(cost))
        prices.append(multiplier.price)
    np.testing.assert_allclose(prices, [0.5, 1.0, 0.5, 0.0, 0.0])
    assert multiplier.scale == pytest.approx(3.0)


def test_steps_that_did_not_happen_cost_nothing():
    rows = make_sequences()
    happened = rows["active"][:, :-1] & rows.valid()[..., None]
    multiplier = Multiplier(rate=1.0)
    multiplier.observe(with_costs(np.where(happened, 1.0, 1e6)))
    assert multiplier.price == multiplier.mean_cost == multiplier.scale == 1.0


def test_the_price_is_taken_off_the_rewards():
    multiplier, rows = Multiplier(rate=0.25), with_costs(2.0)
    multiplier.observe(rows)
    np.testing.assert_allclose(
        multiplier.apply(rows)["rewards"], rows["rewards"] - 0.25, rtol=1e-5, atol=1e-6
    )
    multiplier.set_state(Multiplier(rate=9.0).get_state())
    np.testing.assert_array_equal(multiplier.apply(rows)["rewards"], rows["rewards"])


def test_bad_settings():
    config = policies.config("ppo", problem="load_balance", multiplier_lr=0.1)
    with pytest.raises(ValueError, match="load_balance has no constraint, for which it must be 0"):
        config.env_runner_cls(config=config)
    with pytest.raises(ValueError, match="multiplier_lr is -0.1; it must be at least 0"):
        policies.config("a2c", problem="kv_cache", multiplier_lr=-0.1).validate()


def test_the_price_is_part_of_a_checkpoint(tmp_path):
    config = policies.config(
        "ppo", problem="kv_cache", env_config=CROWDED, multiplier_lr=0.1, hidden_sizes=[8]
    )
    config.env_runners(num_envs_per_env_runner=8, rollout_fragment_length=36).debugging(seed=0)
    algo = config.build_algo()
    found = [algo.train()["multiplier"] for _ in range(2)]
    assert found[1]["price"] > found[0]["price"] > 0.0
    assert found[1]["mean_cost"] > 1.0, "requests in a step"
    restored = Algorithm.from_checkpoint(algo.save_to_path(str(tmp_path / "checkpoint")))
    assert restored.multiplier.get_state() == algo.multiplier.get_state()
    restored.stop()
    algo.stop()
