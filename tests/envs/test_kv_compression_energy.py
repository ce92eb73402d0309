"""Joules: as they are told, and as counters in files tell them."""

import importlib.util
import time

import pytest
import torch

from marlserve.envs.kv_compression import energy


def test_watts_that_are_told_are_drawn_all_the_time():
    meter = energy.meter("cpu", 50.0)
    before_j, start_s = meter.joules(), time.perf_counter()
    time.sleep(0.02)
    least_s = time.perf_counter() - start_s
    joules = meter.joules() - before_j
    assert 50.0 * 0.02 <= 50.0 * least_s <= joules
    assert meter.source == "50 W, as told"


def test_counters_of_packages_add_up_and_begin_again(tmp_path):
    files = [tmp_path / f"intel-rapl:{i}" / "energy_uj" for i in range(2)]
    for file, now in zip(files, (5_000_000, 9_999_000), strict=True):
        file.parent.mkdir()
        file.write_text(f"{now}\n")
        file.with_name("max_energy_range_uj").write_text("9999999\n")
    meter = energy._packages(tmp_path)
    before_j = meter.joules()
    files[0].write_text("7000000\n")
    files[1].write_text("2000\n")  # 1,000 to the end, and 2,000 from 0 on
    assert meter.joules() - before_j == pytest.approx(2.003)
    assert meter.joules() - before_j == pytest.approx(2.003)


def test_what_is_refused(tmp_path, monkeypatch):
    for watts in (-1.0, 0.5, 5001.0, float("nan")):
        with pytest.raises(ValueError, match=f"watts is {watts}; allowed is 1 to 5000, or 0"):
            energy.meter("cpu", watts)
    monkeypatch.setattr(energy, "_RAPL", tmp_path)
    with pytest.raises(ValueError, match="watts is 0, and there is no RAPL in .*; give --watts"):
        energy.meter("cpu")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a card")
@pytest.mark.skipif(importlib.util.find_spec("pynvml") is None, reason="needs nvidia-ml-py")
def test_a_card_counts():
    meter = energy.meter("cuda:0")
    before_j = meter.joules()
    for _ in range(200):
        torch.ones(4096, 4096, device="cuda:0").matmul(torch.ones(4096, 4096, device="cuda:0"))
    assert meter.joules() > before_j
    assert meter.source == "NVML"
