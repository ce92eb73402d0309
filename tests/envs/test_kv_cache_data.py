"""The KV-cache problem on recorded data, against measured values of the source system.

MARLSERVE_DATA names a folder with azure_llm_2023/code.csv, caiso/CAISO_20231115_20231117.csv and
kv_profiles/gov_report/.
"""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from kv_cases import played

from marlserve.envs.kv_cache import BASELINES, SOURCE_COMPATIBLE, Problem
from marlserve.envs.kv_cache.baselines import CONSTANTS
from marlserve.envs.kv_cache.rewards import expected

DATA = Path(os.environ.get("MARLSERVE_DATA", ""))
pytestmark = pytest.mark.skipif(
    "MARLSERVE_DATA" not in os.environ, reason="MARLSERVE_DATA is not set"
)
CODE_2023 = replace(
    SOURCE_COMPATIBLE,
    invocations_path=str(DATA / "azure_llm_2023" / "code.csv"),
    price_path=str(DATA / "caiso" / "CAISO_20231115_20231117.csv"),
    profile_path=str(DATA / "kv_profiles" / "gov_report"),
    start_time="2023-11-16 18:17:10",
    episode_hours=340 / 360,
)


def test_expected_rewards_by_price():
    """Without queueing, by price in $/MWh: the full cache, then SnapKV with 64 to 1024 tokens."""
    measured = {
        0.0: (1.157, 0.876, 0.913, 0.966, 1.000, 1.055),
        30.0: (0.837, 0.723, 0.740, 0.793, 0.796, 0.838),
        45.0: (0.678, 0.647, 0.654, 0.707, 0.694, 0.730),
        60.0: (0.536, 0.570, 0.568, 0.621, 0.592, 0.621),
        100.0: (0.281, 0.367, 0.339, 0.392, 0.326, 0.339),
        200.0: (0.162, -0.017, -0.021, 0.036, 0.027, 0.070),
    }
    found = expected(Problem(CODE_2023), np.array(list(measured)))
    np.testing.assert_allclose(found, np.roll(list(measured.values()), -1, axis=1), atol=0.001)


def test_the_tuned_price_rule():
    """The full cache below $30, 1024 tokens to 60.5, 256 to 140, and the full cache again, as the
    energy term is capped."""
    problem = Problem(CODE_2023, 8)
    observations = problem.reset(range(8))
    problem.price = np.array([-10.0, 29.0, 31.0, 60.0, 61.0, 139.0, 142.0, 900.0])
    actions = BASELINES["tuned_price"].policy(problem)({"operator": observations[:, 0]})["operator"]
    names = ["fullkv", "snapkv_1024", "snapkv_256", "fullkv"]
    assert [problem.action_names[action] for action in actions] == list(np.repeat(names, 2))


@pytest.mark.parametrize(
    ("baseline", "mean_reward", "cost_usd"),
    [
        ("fullkv", 0.532, 0.434),
        ("snapkv_64", 0.558, 0.207),
        ("snapkv_128", 0.552, 0.236),
        ("snapkv_256", 0.612, 0.235),
        ("snapkv_512", 0.584, 0.276),
        ("snapkv_1024", 0.609, 0.294),
        ("price_rule", 0.594, 0.227),
        ("tuned_price", 0.613, 0.283),
    ],
)
def test_mean_rewards_on_the_requests_of_2023(baseline, mean_reward, cost_usd):
    """Mean of six episodes; each of the source system's is one of three, with an sd of .01."""
    problem, rewards = played(CODE_2023, baseline, range(6))
    assert rewards.mean() == pytest.approx(mean_reward, abs=0.02)
    metrics = problem.metrics()
    # The source system's episode has ten steps more, and counts energy as requests complete.
    assert metrics["energy_cost_usd"].mean() == pytest.approx(cost_usd, rel=0.05)
    assert metrics["p99_wait_s"].max() == 0.0
    assert metrics["timeout_rate"].max() == metrics["failure_rate"].max() == 0.0
    if baseline in CONSTANTS:
        assert (metrics[f"share_{baseline}"] == 1.0).all()
