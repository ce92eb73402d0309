"""Profiles of KV-cache compression: reading, drawing, and what a profile promises."""

import os
import pickle
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from marlserve.traces import kv_profile
from marlserve.traces.kv_profile import CONFIGS, KVProfile

GOOD = "times,energies,scores\n13.3,3555.5,0.37\n20.8,6068.7,1\n16.2,4735.5,0\n"
# Means and standard deviations of the recorded profile: seconds, joules, score.
RECORDED = {
    "snapkv_64": ((13.01, 2817, 0.1878), (3.68, 807, 0.0444)),
    "snapkv_128": ((15.64, 3185, 0.2064), (4.62, 935, 0.0419)),
    "snapkv_256": ((16.06, 3189, 0.2331), (4.69, 962, 0.0430)),
    "snapkv_512": ((18.46, 3766, 0.2498), (5.30, 1108, 0.0500)),
    "snapkv_1024": ((19.18, 4003, 0.2775), (5.03, 1068, 0.0532)),
    "fullkv": ((20.19, 5920, 0.3287), (7.71, 2337, 0.0656)),
}
LIMITS = [(6.08, 26.95), (7.92, 30.01), (7.48, 29.10), (7.97, 32.11), (8.87, 31.76), (8.30, 48.01)]


@pytest.fixture
def folder(tmp_path):
    """Makes a good folder, in which one file has another text."""

    def write(text: str = GOOD, config: str = "snapkv_512") -> Path:
        for name in CONFIGS:
            (tmp_path / f"{name}.csv").write_text(text if name == config else GOOD)
        return tmp_path

    return write


def statistics(profile: KVProfile) -> tuple[np.ndarray, np.ndarray]:
    """Means and standard deviations, [C, 3] each."""
    arrays = np.stack([profile.service_s, profile.energy_j, profile.score], axis=1)  # [C, 3, R]
    return arrays.mean(2), arrays.std(2, ddof=1)


def test_a_folder_is_read(folder):
    profile = kv_profile.load(path=folder(GOOD.replace("20.8", "28"), "snapkv_64"))
    assert profile.configs == CONFIGS
    assert profile.num_prompts == 3
    np.testing.assert_array_equal(profile.service_s[0], [13.3, 28.0, 16.2])
    np.testing.assert_array_equal(profile.service_s[5], [13.3, 20.8, 16.2])
    np.testing.assert_array_equal(profile.energy_j[3], [3555.5, 6068.7, 4735.5])
    np.testing.assert_array_equal(profile.score[1], [0.37, 1.0, 0.0])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (GOOD + "1,200,0.5\n", r"snapkv_512.csv has 4 rows, .*snapkv_64.csv 3; .* same prompt"),
        (
            GOOD.replace("scores", "rouge"),
            "snapkv_512.csv, line 1: .*; expected .* times,energies,sc",
        ),
        (GOOD.replace("0.37", "37"), "snapkv_512.csv, line 2, column scores: '37'; .* 0 to 1"),
        (GOOD.replace("0.37", "-0.1"), "line 2, column scores: '-0.1'"),
        (GOOD.replace("0.37", "nan"), "line 2, column scores: 'nan'; expected a finite number"),
        (GOOD.replace("20.8", "0"), "line 3, column times: '0'; expected seconds, more than 0"),
        (GOOD.replace("4735.5", "-1"), "line 4, column energies: '-1'; expected joules, more than"),
        (
            GOOD.replace("6068.7", "6.0687"),
            "line 3, column energies: '6.0687'; expected joules, 1 to",
        ),
        (GOOD.replace("6068.7", "6068700"), "line 3, column energies: .* 1 to 5000 for each"),
        (
            "times,energies,scores\n13300,3555.5,0.37\n20800,6068.7,0.3\n1,2,0\n",
            "line 3, column times: '20800'; expected seconds, below 1000 in the mean",
        ),
    ],
)
def test_a_bad_line_is_named(folder, text, message):
    with pytest.raises(ValueError, match=message):
        kv_profile.load(path=folder(text))


def test_a_folder_has_the_known_configurations(folder):
    path = folder()
    (path / "snapkv_2048.csv").write_text(GOOD)
    with pytest.raises(ValueError, match=r"holds \['snapkv_2048.csv'\]; expected no CSV but"):
        kv_profile.load(path=path)
    (path / "snapkv_2048.csv").unlink()
    (path / "fullkv.csv").unlink()
    with pytest.raises(FileNotFoundError, match="fullkv.csv"):
        kv_profile.load(path=path)
    wrong = {path / "none": FileNotFoundError, Path(__file__): NotADirectoryError}
    for other, kind in wrong.items():
        with pytest.raises(kind, match=f"{other} is no folder; expected one"):
            kv_profile.load(path=other)


def test_bad_options_are_named():
    for rows in (0, 2.0):
        with pytest.raises(ValueError, match=f"rows is {rows}; expected a whole number"):
            kv_profile.load(np.random.default_rng(0), rows=rows)
    with pytest.raises(ValueError, match="rng is None"):
        kv_profile.load()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"energy_j": np.ones((2, 4))}, r"energy_j is \(2, 4\), service_s \(2, 3\)"),
        ({"service_s": np.ones(3)}, r"service_s has shape \(3,\); expected \[2, R\]"),
        ({"configs": ("a",)}, r"service_s has shape \(2, 3\); expected \[1, R\]"),
        ({"score": np.zeros((2, 0))}, r"score has shape \(2, 0\)"),
        ({"score": [[0, 0, 0], [0, 0, 1.1]]}, "score of b, prompt 2, is 1.1; expected 0 to 1"),
        ({"energy_j": [[1, 1, 1], [0, 1, 1]]}, "energy_j of b, prompt 0, is 0.0; expected a pos"),
        ({"service_s": [[1, np.inf, 1], [1, 1, 1]]}, "service_s of a, prompt 1, is inf"),
        ({"score": [[0, np.nan, 0], [0, 0, 0]]}, "score of a, prompt 1, is nan"),
    ],
)
def test_a_bad_profile_is_refused(change, message):
    good = {name: np.ones((2, 3)) for name in kv_profile.COLUMNS}
    with pytest.raises(ValueError, match=message):
        KVProfile(**({"configs": ("a", "b")} | good | change))


def test_a_profile_cannot_be_written_also_after_pickling():
    given = np.ones((1, 2))
    profile = KVProfile(("a",), given, given, given)
    given[0, 0] = 0.5
    assert profile.score[0, 0] == 1.0
    for one in (profile, pickle.loads(pickle.dumps(profile)), profile.take(np.array([1]))):
        with pytest.raises(ValueError, match="read-only"):
            one.energy_j[0, 0] = 0.0
        with pytest.raises(AttributeError):
            one.configs = ()


def test_taking_prompts_keeps_them_together():
    profile = kv_profile.load(np.random.default_rng(4), rows=50)
    prompts = np.array([7, 7, 3])
    taken = profile.take(prompts)
    assert taken.num_prompts == 3
    for name in kv_profile.COLUMNS:
        np.testing.assert_array_equal(getattr(taken, name), getattr(profile, name)[:, prompts])


def test_the_synthetic_profile_has_the_recorded_means_spreads_and_limits():
    profile = kv_profile.load(np.random.default_rng(2), rows=40_000)
    means, sds = statistics(profile)
    np.testing.assert_allclose(means, [RECORDED[config][0] for config in CONFIGS], rtol=0.015)
    np.testing.assert_allclose(sds, [RECORDED[config][1] for config in CONFIGS], rtol=0.07)
    for times, (least, largest) in zip(profile.service_s, LIMITS, strict=True):
        assert (times.min(), times.max()) == pytest.approx((least, largest), rel=0.01)
    assert profile.score.min() >= 0.082
    assert profile.score.max() <= 0.537
    assert (np.diff(means[:, 2]) > 0.0).all()  # more cache, better answers


def test_synthetic_prompts_are_alike_in_every_configuration():
    profile = kv_profile.load(np.random.default_rng(3), rows=40_000)
    times, energies, scores = (np.corrcoef(getattr(profile, n)) for n in kv_profile.COLUMNS)
    for time, energy, score in zip(*(getattr(profile, n) for n in kv_profile.COLUMNS), strict=True):
        assert 0.97 < np.corrcoef(time, energy)[0, 1] < 0.999
        assert np.corrcoef(time, score)[0, 1] == pytest.approx(0.19, abs=0.03)
    for i, j in combinations(range(len(CONFIGS)), 2):
        assert times[i, j] == pytest.approx(0.42, abs=0.03)
        assert 0.36 < energies[i, j] < 0.61  # as recorded
        assert scores[i, j] == pytest.approx(0.61 - 0.0925 * (j - i - 1), abs=0.03)


@pytest.mark.skipif(
    "MARLSERVE_DATA" not in os.environ, reason="MARLSERVE_DATA names no data folder"
)
def test_the_recorded_profile():
    profile = kv_profile.load(path=Path(os.environ["MARLSERVE_DATA"], "kv_profiles/gov_report"))
    assert profile.num_prompts == 200
    means, sds = statistics(profile)
    np.testing.assert_allclose(means, [RECORDED[config][0] for config in CONFIGS], rtol=0.001)
    np.testing.assert_allclose(sds, [RECORDED[config][1] for config in CONFIGS], rtol=0.003)
    pairs = [np.corrcoef(profile.service_s)[i, j] for i, j in combinations(range(6), 2)]
    assert (min(pairs), max(pairs)) == pytest.approx((0.25, 0.54), abs=0.01)
