"""What holds for every trace, and what a Trace promises."""

import pickle
from importlib import import_module
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from marlserve import traces
from marlserve.envs.load_balance import Config
from marlserve.traces import Trace


def options(name: str, path: Path) -> dict:
    """Enough to load any trace, if need be from a file at `path`."""
    path.write_text("time\tquery\n0.5\t/dummy.php/?n=18350000\n2.25\t/dummy.php/?n=0\n")
    requests = path.with_suffix(".jsonl")
    requests.write_text(
        '{"timestamp": 0, "input_length": 7, "output_length": 5, "hash_ids": [0]}\n'
    )
    jobs = path.with_suffix(".swf")
    jobs.write_text(f"; MaxProcs: 8\n1 5 -1 60 4{' -1' * 13}\n")
    return {
        "bursts": {"rate_per_s": 50.0, "duration_s": 10.0},
        "poisson": {"rate_per_s": 50.0, "duration_s": 10.0},
        "wikipedia": {"start_s": 86_395.0, "duration_s": 10.0},
        "flows": {"path": path},
        "llm_requests": {"path": requests},
        "lublin": {"num_jobs": 100},
        "swf": {"path": jobs},
    }.get(name, {})


def arrays(loaded) -> dict[str, np.ndarray]:
    """The arrays by name, of a trace or of a profile, which has them as attributes."""
    if isinstance(loaded, Trace):
        return dict(loaded.columns)
    return {name: value for name, value in vars(loaded).items() if isinstance(value, np.ndarray)}


def small() -> Trace:
    return Trace(
        {"time_s": np.array([1.0, 2.0, 2.0, 5.0]), "usd": np.array([10.0, -20.0, 30.0, 40.0])}, 8.0
    )


# Any trace ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", traces.names())
def test_every_trace_repeats_with_its_seed_and_has_the_columns_it_states(name, tmp_path):
    kwargs = options(name, tmp_path / "flows.csv")
    stated = import_module(f"marlserve.traces.{name}").COLUMNS
    one, same = (arrays(traces.load(name, np.random.default_rng(7), **kwargs)) for _ in range(2))
    assert one
    assert set(one) <= set(stated)
    for column in one:
        assert one[column].size > 0
        assert not one[column].flags.writeable
        np.testing.assert_array_equal(one[column], same[column])


@pytest.mark.parametrize("name", traces.names(column="time_s"))
def test_every_trace_with_times_is_in_order(name, tmp_path):
    trace = traces.load(name, np.random.default_rng(7), **options(name, tmp_path / "flows.csv"))
    assert isinstance(trace, Trace)
    assert trace.time_s.dtype == np.float64
    assert (np.diff(trace.time_s) >= 0.0).all()
    assert trace.time_s[0] >= trace.start_s
    assert trace.time_s[-1] < trace.end_s


@pytest.mark.parametrize("name", traces.names(column="work_s"))
def test_every_trace_of_work_starts_at_zero(name, tmp_path):
    trace = traces.load(name, np.random.default_rng(7), **options(name, tmp_path / "flows.csv"))
    assert trace.start_s == 0.0
    assert (trace["work_s"] >= 0.0).all()


def test_traces_are_found_by_what_they_hold():
    assert {"flows", "poisson", "wikipedia"} <= set(traces.names(column="work_s"))
    assert not {"invocations", "kv_profile"} & set(traces.names(column="work_s"))
    assert traces.names(column="usd_per_mwh") == ["energy_price"]
    assert traces.names(column="colour") == []


def test_load_balancing_offers_only_traces_of_work():
    with pytest.raises(ValueError, match="trace is 'invocations'; allowed is .*'wikipedia'"):
        Config(trace="invocations")


def test_names_are_the_modules():
    assert {"flows", "poisson", "wikipedia"} <= set(traces.names())
    assert not {"base", "csv_file", "noise", "utc"} & set(traces.names())


def test_an_unknown_trace_or_option_is_an_error():
    with pytest.raises(ValueError, match=r"there is no trace 'base'; there are .*'poisson'"):
        traces.load("base", np.random.default_rng(0))
    with pytest.raises(TypeError, match="rate"):
        traces.load("poisson", np.random.default_rng(0), rate=1.0, duration_s=1.0)


# Trace -------------------------------------------------------------------------------------------


def test_columns_cannot_be_written_also_after_pickling():
    trace = small()
    for one in (trace, pickle.loads(pickle.dumps(trace)), trace.between(0.0, 3.0)):
        with pytest.raises(ValueError, match="read-only"):
            one["usd"][0] = 0.0
        with pytest.raises(AttributeError):
            one.end_s = 9.0
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(trace))["usd"], trace["usd"])
    with pytest.raises(TypeError):
        trace.columns["usd"] = trace.time_s
    with pytest.raises(KeyError, match="no column 'work_s'; there are"):
        trace["work_s"]


def test_the_giver_of_an_array_may_still_own_it():
    time_s = np.array([1.0, 2.0])
    Trace({"time_s": time_s}, 3.0)
    assert time_s.flags.writeable


@pytest.mark.parametrize(
    ("columns", "end_s", "message"),
    [
        ({"work_s": [1.0]}, 3.0, "time_s must be one of them"),
        ({"time_s": [1.0, 2.0], "usd": [1.0]}, 3.0, r"column usd has shape \(1,\); expected .*2"),
        ({"time_s": [[1.0, 2.0]]}, 3.0, r"column time_s has shape \(1, 2\)"),
        ({"time_s": [1.0, np.nan]}, 3.0, "column time_s, row 1: nan; expected a finite number"),
        ({"time_s": [1.0, 2.0], "usd": [np.inf, 0.0]}, 3.0, "column usd, row 0: inf"),
        ({"time_s": [1.0, 2.0], "work_s": [0.0, -0.5]}, 3.0, "work_s, row 1: -0.5; .* negative"),
        ({"time_s": [2.0, 1.0]}, 3.0, "column time_s, row 1: 1.0; expected none earlier"),
        ({"time_s": [-1.0, 1.0]}, 3.0, r"row 0: -1.0; expected a time in \[0.0, 3.0\)"),
        ({"time_s": [1.0, 3.0]}, 3.0, r"row 1: 3.0; expected a time in \[0.0, 3.0\)"),
        ({"time_s": []}, -1.0, "expected finite times in order"),
        ({"time_s": []}, np.inf, "expected finite times in order"),
    ],
)
def test_bad_columns_are_named(columns, end_s, message):
    with pytest.raises(ValueError, match=message):
        Trace({name: np.array(values, float) for name, values in columns.items()}, end_s)


def test_between_takes_the_start_but_not_the_end_and_copies_nothing():
    trace = small()
    part = trace.between(2.0, 5.0)
    np.testing.assert_array_equal(part["usd"], [-20.0, 30.0])
    assert (part.start_s, part.end_s, part.duration_s) == (2.0, 5.0, 3.0)
    assert np.shares_memory(part["usd"], trace["usd"])
    assert len(trace.between(5.5, 8.0)) == len(trace.between(2.0, 2.0)) == 0
    assert part.between(2.0, 3.0).time_s.tolist() == [2.0, 2.0]


@given(times=st.lists(st.floats(0.0, 9.0)), cuts=st.lists(st.floats(0.0, 10.0), max_size=5))
def test_steps_of_time_have_every_row_once(times, cuts):
    trace = Trace({"time_s": np.sort(np.array(times, float))}, 10.0)
    edges = [0.0, *sorted(cuts), 10.0]
    parts = [trace.between(a, b).time_s for a, b in pairwise(edges)]
    np.testing.assert_array_equal(np.concatenate(parts), trace.time_s)


@pytest.mark.parametrize("span", [(-1.0, 2.0), (1.0, 8.5), (3.0, 2.0), (np.nan, 2.0)])
def test_between_outside_of_the_trace_is_an_error(span):
    with pytest.raises(ValueError, match=r"is not within the trace, \[0.0, 8.0\)"):
        small().between(*span)


def test_at_is_the_newest_row_that_is_not_in_the_future():
    trace = small()
    assert trace.at(1.0) == {"time_s": 1.0, "usd": 10.0}
    assert trace.at(1.999)["usd"] == 10.0
    assert trace.at(2.0)["usd"] == 30.0
    assert trace.at(7.999)["usd"] == 40.0
    for time_s in (-0.1, 0.999, 8.0, np.nan):
        with pytest.raises(ValueError, match=r"with the first row at 1.0"):
            trace.at(time_s)
    with pytest.raises(ValueError, match="with no rows"):
        Trace({"time_s": []}, 1.0).at(0.5)


@given(
    times=st.lists(st.floats(0.0, 99.0), max_size=30),
    start_s=st.floats(0.0, 60.0),
    duration_s=st.floats(0.0, 40.0),
)
def test_a_window_starts_at_0_and_has_the_rows_of_its_time(times, start_s, duration_s):
    trace = Trace({"time_s": np.sort(np.array(times, float))}, 100.0)
    window = trace.window(start_s, duration_s)
    assert (window.start_s, window.end_s) == (0.0, duration_s)
    assert len(window) == len(trace.between(start_s, start_s + duration_s))
    Trace(window.columns, window.end_s)  # every promise of a trace still holds
    assert not window.time_s.flags.writeable


@given(seed=st.integers(0, 2**32 - 1), start_s=st.floats(0.0, 1e6), share=st.floats(0.0, 1.0))
def test_a_random_window_always_fits(seed, start_s, share):
    trace = Trace({"time_s": [start_s]}, start_s + 0.7, start_s)
    duration_s = share * trace.duration_s
    window = trace.random_window(np.random.default_rng(seed), duration_s)
    assert window.duration_s == duration_s


def test_rounding_pushes_nothing_out_of_a_window():
    time_s = np.nextafter(1.0, 0.0)
    assert time_s - 0.3 == 0.7  # the end of the window, which it does not cover
    window = Trace({"time_s": [time_s]}, 2.0).window(0.3, 0.7)
    assert window.time_s[0] < window.end_s
    assert len(window.between(0.0, 0.7)) == 1

    class Latest:
        """`Generator.uniform` may return its upper end, by rounding."""

        def uniform(self, low, high):
            return high

    end_s, duration_s = 1000.1, 0.5550336976604626
    assert (end_s - duration_s) + duration_s > end_s
    assert len(Trace({"time_s": [1000.0]}, end_s).random_window(Latest(), duration_s)) == 1


def test_random_windows_are_everywhere_and_repeat():
    trace = Trace({"time_s": np.arange(1000.0)}, 1000.0)
    rng = np.random.default_rng(1)
    first = [trace.between(0.0, 1000.0).random_window(rng, 10.0).time_s[0] for _ in range(5)]
    assert len(set(first)) == 5
    again = trace.random_window(np.random.default_rng(1), 10.0)
    assert again.time_s[0] == first[0]
    with pytest.raises(ValueError, match=r"duration_s is 1001.0; the trace covers 1000.0 s"):
        trace.random_window(rng, 1001.0)


@given(times=st.lists(st.floats(0.0, 9.0), min_size=1), rate_per_s=st.floats(1e-6, 1e6))
def test_at_rate_stretches_time_and_keeps_the_rows(times, rate_per_s):
    time_s = np.sort(times)
    trace = Trace({"time_s": time_s, "work_s": time_s}, np.nextafter(9.0, 10.0))
    changed = trace.at_rate(rate_per_s)
    assert changed.rate_per_s == pytest.approx(rate_per_s)
    np.testing.assert_array_equal(changed["work_s"], trace["work_s"])
    factor = changed.duration_s / trace.duration_s
    np.testing.assert_allclose(changed.time_s, time_s * factor, rtol=1e-12)


def test_rate_and_work_set_the_offered_load():
    trace = Trace({"time_s": np.arange(4.0), "work_s": np.full(4, 0.5)}, 8.0)
    assert trace.rate_per_s == 0.5
    assert trace.offered_load == 0.25
    assert trace.at_rate(1.0).scaled("work_s", 3.0).offered_load == pytest.approx(1.5)
    assert repr(trace) == "Trace(4 rows of ['time_s', 'work_s'], [0.0, 8.0) s)"
    with pytest.raises(ValueError, match=r"rate_per_s is 0.0; expected a positive number"):
        trace.at_rate(0.0)
    with pytest.raises(ValueError, match="an empty trace has no rate"):
        trace.between(7.0, 8.0).at_rate(1.0)
    with pytest.raises(ValueError, match=r"column work_s, row 0: -0.5"):
        trace.scaled("work_s", -1.0)
    with pytest.raises(ValueError, match="at_rate scales it"):
        trace.scaled("time_s", 2.0)
