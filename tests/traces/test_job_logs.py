"""Logs of clusters: what is read, what is refused, and what is drawn."""

import gzip
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from marlserve import traces
from marlserve.traces import lublin, swf
from marlserve.traces.job_log import JobLog

HEADER = "; Version: 2.2\n; MaxNodes: 8\n; MaxProcs: 16 \n;\n"


def line(job=1, submit=0, run=60, allocated=4, requested=-1, requested_s=-1, user=-1) -> str:
    return f"{job} {submit} -1 {run} {allocated} -1 -1 {requested} {requested_s} -1 1 {user}" + (
        " -1" * 6
    )


@pytest.fixture
def file(tmp_path):
    def write(*lines: str, header: str = HEADER) -> Path:
        path = tmp_path / "log.swf"
        path.write_text(header + "\n".join(lines) + "\n")
        return path

    return write


def test_jobs_are_read(file):
    path = file(
        line(1, 50, 30, 2, 4, 60, 7),
        "",
        "  " + line(2, 10, 90, 4, -1, 45).replace(" ", "\t "),
        "; in between",
        line(3, 50, 0, 1),  # never ran
        line(4, 60, -1, 1),
        line(5, 60, 5, 0),
        line(6, 50, 1, -1, 16),
    )
    log = swf.load(path=path)
    assert log.num_processors == 16
    np.testing.assert_array_equal(log.time_s, [10, 50, 50])
    np.testing.assert_array_equal(log["run_s"], [90, 30, 1])
    np.testing.assert_array_equal(log["requested_s"], [45, 60, 1])
    np.testing.assert_array_equal(log["processors"], [4, 4, 16])
    np.testing.assert_array_equal(log["user"], [-1, 7, -1])
    packed = path.with_suffix(".swf.gz")
    packed.write_bytes(gzip.compress(path.read_bytes()))
    np.testing.assert_array_equal(swf.load(path=packed)["run_s"], log["run_s"])
    again = pickle.loads(pickle.dumps(log))
    assert (again.num_processors, again.end_s, len(again)) == (16, log.end_s, 3)


def test_the_size_is_of_the_first_comment_that_tells_it(file):
    nodes = file(line(), header="; MaxNodes: 8\n")
    assert swf.load(path=nodes).num_processors == 8
    assert swf.load(path=nodes, num_processors=4).num_processors == 4


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1 2 3", r"line 5: 3 numbers, '1 2 3'; expected 18"),
        (line() + " 9 9", r"line 5: 20 numbers"),
        (line().replace("60", "x60"), r"line 5, column 4: 'x60'; expected a finite number"),
        (line().replace("60", "nan"), r"line 5, column 4: 'nan'; expected a finite number"),
        (line(submit=-1), r"line 5, column 2 \(submit time\): -1; expected .* at least 0"),
        (line(run=-7), r"line 5, column 4 \(run time\): -7; expected at least -1"),
        (line(allocated=17), r"line 5, column 5 .*: 17; expected at most 16"),
        (line(requested=64), r"line 5, column 8 .*: 64; expected at most 16"),
        (line(allocated=1.5), r"line 5, column 5 .*: 1.5; expected a whole number"),
        (line(run=0), r"none of 1 jobs ran"),
        ("", r"no line of numbers"),
    ],
)
def test_bad_lines_are_named(file, text, message):
    path = file(text)
    with pytest.raises(ValueError, match=message) as error:
        swf.load(path=path)
    assert str(path) in str(error.value)


def test_a_cluster_without_a_size_is_an_error(file):
    with pytest.raises(ValueError, match=r"no comment with MaxProcs or MaxNodes"):
        swf.load(path=file(line(), header="; Version: 2\n"))
    with pytest.raises(ValueError, match=r"line 1: '; MaxProcs: many'; expected MaxProcs: a whole"):
        swf.load(path=file(line(), header="; MaxProcs: many\n"))
    with pytest.raises(ValueError, match=r"num_processors is 0"):
        swf.load(path=file(line()), num_processors=0)


def test_a_log_of_jobs_that_cannot_be_is_an_error():
    good = {
        **{"time_s": [0.0], "run_s": [5.0], "requested_s": [5.0]},
        **{"processors": [4], "user": [-1]},
    }
    for name, value in (("run_s", 0.0), ("requested_s", -1.0), ("processors", 9), ("user", -2)):
        columns = {key: np.array([value] if key == name else x) for key, x in good.items()}
        with pytest.raises(ValueError, match=f"column {name}, row 0: {value}"):
            JobLog(columns, 1.0, 0.0, 8)
    with pytest.raises(ValueError, match="expected user too"):
        JobLog({key: np.array(x) for key, x in good.items() if key != "user"}, 1.0, 0.0, 8)


# Drawn -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def drawn() -> JobLog:
    return lublin.load(np.random.default_rng(5), num_jobs=40_000)


def test_sizes_are_of_the_published_law(drawn):
    processors = drawn["processors"]
    serial, parallel = processors == 1, processors[processors > 1]
    assert serial.mean() == pytest.approx(0.244, abs=4 * np.sqrt(0.244 * 0.756 / len(drawn)))
    # Of parallel jobs 0.576 of 0.756 are rounded to powers of 2, and few others happen to be.
    powers = (parallel & (parallel - 1)) == 0
    assert 0.576 / 0.756 < powers.mean() < 0.576 / 0.756 + 0.08
    # 0.86 of them are up to 2 ** 5.5 = 45.25, which rounding to powers of 2 puts at 32 or 64.
    assert (parallel < 45.25).mean() == pytest.approx(0.86, abs=0.01)
    assert processors.max() == 256


def test_run_times_are_of_the_published_laws(drawn):
    kind, processors = lublin.WHOLE, drawn["processors"]
    slope, at_0 = kind.short_share
    short = np.clip(slope * processors + at_0, 0.0, 1.0)

    def cdf(log_s: float) -> float:
        laws = [stats.gamma(shape, scale=scale) for shape, scale in (kind.short_run, kind.long_run)]
        by_law = [law.cdf(log_s) / law.cdf(lublin._LONGEST_LOG_RUN) for law in laws]
        return float((short * by_law[0] + (1 - short) * by_law[1]).mean())

    for seconds in (2.0, 20.0, 200.0, 2_000.0, 10_000.0, 50_000.0):
        error = 4 * np.sqrt(0.25 / len(drawn))
        assert (drawn["run_s"] < seconds).mean() == pytest.approx(cdf(np.log(seconds)), abs=error)


def test_jobs_come_at_the_published_hours(drawn):
    bucket = (drawn.time_s // 1800).astype(int)
    days = bucket[-1] // 48
    by_day = np.bincount(bucket, minlength=48 * days)[: 48 * days].reshape(days, 48)
    paces = lublin.pace(lublin.WHOLE)
    assert paces.mean() == pytest.approx(1.0)
    assert 25 <= paces.argmax() <= 29, "busiest early in the afternoon"
    error = 4 * by_day.std(axis=0) / np.sqrt(days)
    expected = by_day.mean() * paces
    assert (abs(by_day.mean(axis=0) - expected) < error).all()
    assert (error < 0.35 * expected + 0.1).all(), "or it says nothing"


def test_options_do_what_they_say():
    rng = np.random.default_rng
    stretched = lublin.load(
        rng(1), num_jobs=5_000, num_processors=64, offered_load=0.7, overestimate=4.0
    )
    assert stretched.offered_load == pytest.approx(0.7, rel=0.01)
    assert stretched["processors"].max() == 64
    ratio = stretched["requested_s"] / stretched["run_s"]
    assert (ratio >= 1.0).all()
    assert ratio[stretched["run_s"] > 100].mean() == pytest.approx(3.0, rel=0.03)
    mixed = lublin.load(rng(1), num_jobs=5_000, kinds=True)
    assert mixed["run_s"].mean() < 0.6 * lublin.load(rng(1), num_jobs=5_000)["run_s"].mean()
    for option, value in (("num_jobs", 0), ("num_processors", 2.5), ("overestimate", -1.0)):
        with pytest.raises(ValueError, match=f"{option} is {value}"):
            lublin.load(rng(0), **{option: value})
    with pytest.raises(ValueError, match="offered_load is 0"):
        lublin.load(rng(0), offered_load=0.0)
    with pytest.raises(ValueError, match="rng is None"):
        lublin.load(None)


@pytest.mark.skipif(
    "MARLSERVE_DATA" not in os.environ, reason="MARLSERVE_DATA names no data folder"
)
def test_the_authors_log_is_as_what_is_drawn(drawn):
    """10,000 jobs of the authors' program for 256 processors."""
    log = traces.load("swf", path=Path(os.environ["MARLSERVE_DATA"], "swf/lublin_256.swf"))
    assert len(log) == 10_000
    assert log.num_processors == 256
    for name in ("processors", "run_s"):
        for q in (0.25, 0.5, 0.75, 0.9):
            found, expected = np.quantile(log[name], q), np.quantile(drawn[name], q)
            assert found == pytest.approx(expected, rel=0.15), (name, q)
    for name in ("run_s", "processors"):
        assert log[name].mean() == pytest.approx(drawn[name].mean(), rel=0.05)
    gaps, expected = np.diff(log.time_s), np.diff(drawn.time_s)
    for q in (0.25, 0.5, 0.75, 0.9):
        assert np.quantile(gaps, q) == pytest.approx(np.quantile(expected, q), rel=0.1)
    # The longest gaps, of days, make the mean uncertain.
    assert gaps.mean() == pytest.approx(expected.mean(), rel=0.25)
