"""What answers cost, measured on the small model, and played by the KV-cache problem."""

import numpy as np
import pytest

from marlserve.envs import kv_cache
from marlserve.envs.kv_compression import Config, costs, energy
from marlserve.envs.kv_compression.live import Live
from marlserve.traces import kv_profile

PROBLEM = Config(arms=("snapkv_16_7@64", "full"), num_prompts=5, split="test")
METER = energy.meter("cpu", 60.0)


@pytest.mark.slow
def test_a_profile_is_measured_written_and_played(tmp_path):
    seen = []
    profile = costs.measured(PROBLEM, METER, track=lambda prompts: seen.extend(prompts) or prompts)
    assert seen == list(range(5))
    assert profile.score.shape == (6, 5)
    assert (profile.energy_j >= 60.0 * profile.service_s).all()  # asked for around it
    live = Live(PROBLEM)
    expected = [live.outcomes(index, [0, 1])["agreement"] for index in range(5)]
    np.testing.assert_allclose(profile.score[[0, 5]].T, expected, rtol=1e-6)
    assert (profile.score[3:] == 1.0).all(), "512 entries are more than the prompt has"

    kv_profile.write(tmp_path / "profile", profile)
    read = kv_profile.load(path=tmp_path / "profile")
    for name in kv_profile.COLUMNS:
        np.testing.assert_allclose(getattr(read, name), getattr(profile, name), rtol=1e-8)
    problem = kv_cache.Problem(
        kv_cache.Config(profile_path=str(tmp_path / "profile"), num_servers=5, episode_hours=0.01),
        num_envs=2,
    )
    problem.reset([0, 1])
    _, rewards, _, truncated, *_ = problem.step(np.zeros((2, 1), np.int64))
    assert np.isfinite(rewards).all()
    assert not truncated.all()


@pytest.mark.slow
def test_its_quality_may_be_the_score_of_the_task():
    few = Config(num_prompts=2)
    profile, live = (
        costs.measured(few, METER, "score", 2),
        Live(Config(num_prompts=2, arms=("full",))),
    )
    for index in range(2):
        assert profile.score[5, index] == pytest.approx(live.outcomes(index, [0])["score"][0])


def test_what_is_refused():
    with pytest.raises(ValueError, match="quality is 'rouge'; allowed is one of"):
        costs.measured(PROBLEM, METER, "rouge")
    with pytest.raises(ValueError, match="repeats is 0; allowed is at least 1"):
        costs.measured(PROBLEM, METER, repeats=0)
