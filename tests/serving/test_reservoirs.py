"""Reservoirs that are fed value by value."""

import math

import numpy as np
import pytest

from marlserve.serving.shared_memory.reservoirs import MultiMetricReservoir, SingleMetricReservoir


def test_a_sample_is_of_the_stream_and_uniform():
    number, size, seeds = 400, 50, 200
    counts = np.zeros(4)
    for seed in range(seeds):
        reservoir = SingleMetricReservoir(size=size, seed=seed)
        for value in range(number):
            reservoir.update(value)
        sample = reservoir.get_sample()
        assert len(set(sample)) == size
        counts += np.histogram(sample, bins=4, range=(0, number))[0]
    expected = size * seeds / 4
    # A sample without replacement varies less than this; 21.1: beyond it is one run in 10,000.
    assert ((counts - expected) ** 2 / expected).sum() < 21.1


def test_what_is_not_full_has_all_of_it():
    reservoir = SingleMetricReservoir(size=4)
    assert reservoir.get_sample().tolist() == []
    assert set(reservoir.statistics().values()) == {0.0}
    for value in (1.0, 2.0, 6.0):
        reservoir.update(value)
    assert reservoir.get_sample().tolist() == [1.0, 2.0, 6.0]
    found = reservoir.statistics()
    assert found["mean"] == 3.0
    assert found["p90"] == pytest.approx(np.percentile([1.0, 2.0, 6.0], 90))
    assert found["std"] == pytest.approx(np.std([1.0, 2.0, 6.0]))


def test_metrics_are_apart_and_fade():
    flows = MultiMetricReservoir(("fct", "flow_duration"), rule="overwrite")
    flows.update({"fct": 2.0}, time_s=10.0)
    flows.update({"fct": 4.0, "flow_duration": 1.0}, time_s=12.0)
    found = flows.statistics(now_s=13.0)
    assert found["fct"]["mean"] == 3.0
    expected = (2.0 * 0.9**3 + 4.0 * 0.9) / 2
    assert found["fct"]["discounted_mean"] == pytest.approx(expected, rel=1e-5)
    assert found["flow_duration"]["mean"] == 1.0
    assert flows.get_sample("fct").tolist() == [2.0, 4.0]


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_bad_values(bad):
    flows = MultiMetricReservoir()
    with pytest.raises(ValueError, match="finite"):
        flows.update({"fct": 1.0, "flow_duration": bad})
    with pytest.raises(ValueError, match="metric is 'other'"):
        flows.update({"fct": 1.0, "other": 1.0})
    assert flows.get_sample("fct").tolist() == []
    for metrics in ((), ("a", "a")):
        with pytest.raises(ValueError, match="metrics are"):
            MultiMetricReservoir(metrics)
