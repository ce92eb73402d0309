"""Logs of clusters in the Standard Workload Format: 18 numbers a line, -1 for what is not known.

    log = traces.load("swf", path="lublin_256.swf")           # or .swf.gz
    log.num_processors                                        # of the header's MaxProcs

A `job_log.JobLog`. Read are, by their numbers in the format,

    2   submit time            time_s, seconds since the log's start
    4   run time               run_s
    5   processors allocated   processors, the larger of these two
    8   processors requested
    9   time requested         requested_s; the run time where it is not known
    12  user                   user

Lines of comments, `; Name: value`, tell the size of the cluster: MaxProcs, or where that is missing
MaxNodes. Jobs that never ran are left out: those whose run time is 0 or not known, or without
processors. Lines may be in any order of time, and jobs may run longer than they requested, which
simulators decide on. A job of more processors than the cluster has is an error.

Reference: Chapin et al.: Benchmarks and standards for the evaluation of parallel job schedulers,
JSSPP 1999; https://www.cs.huji.ac.il/labs/parallel/workload/swf.html, where logs are, too.
"""

import io
import re
from pathlib import Path

import numpy as np
import pandas as pd

from marlserve.traces import recording
from marlserve.traces.job_log import COLUMNS, JobLog

__all__ = ["COLUMNS", "load"]

NUM_FIELDS = 18
_SUBMIT, _RUN, _ALLOCATED, _REQUESTED, _REQUESTED_S, _USER = 2, 4, 5, 8, 9, 12
_NAMES = {
    _SUBMIT: "submit time",
    _RUN: "run time",
    _ALLOCATED: "processors allocated",
    _REQUESTED: "processors requested",
    _REQUESTED_S: "time requested",
    _USER: "user",
}
_WHOLE = (_ALLOCATED, _REQUESTED, _USER)
_SIZES = ("MaxProcs", "MaxNodes")


def load(
    rng: np.random.Generator | None = None, *, path: str | Path, num_processors: int | None = None
) -> JobLog:
    """Read the file at `path`, which may be packed by gzip.

    Args:
        rng: not used, as a recording is what it is; here for the sake of `traces.load`.
        num_processors: of the cluster; by default what the header says.

    Raises:
        ValueError: for a line without 18 numbers, a submit time before 0, a count that is not
            whole, a job that is larger than the cluster, a file without a job that ran, and one
            that does not say how large the cluster is; it names file, line, column and value.
        OSError: if the file cannot be read.
    """
    text = recording.read(path)
    lines = text.decode("utf-8", "replace").splitlines()
    fields, line_of = _fields(path, lines)
    size = _size(path, lines) if num_processors is None else num_processors
    if not (isinstance(size, int) and size >= 1):
        raise ValueError(f"num_processors is {size!r}; expected a whole number, at least 1")

    def expect(field: int, good: np.ndarray, expected: str) -> None:
        if not good.all():
            row = int(np.argmin(good))
            raise ValueError(
                f"{path}, line {line_of[row]}, column {field} ({_NAMES[field]}): "
                f"{fields[field][row]:g}; expected {expected}"
            )

    expect(_SUBMIT, fields[_SUBMIT] >= 0, "seconds since the log's start, at least 0")
    for field in (*_WHOLE, _RUN, _REQUESTED_S):
        expect(field, fields[field] >= -1, "at least -1, which says that it is not known")
    for field in _WHOLE:
        expect(field, fields[field] == np.floor(fields[field]), "a whole number")
    for field in (_ALLOCATED, _REQUESTED):
        expect(field, fields[field] <= size, f"at most {size}, the cluster's processors")
    processors = np.maximum(fields[_ALLOCATED], fields[_REQUESTED])
    ran = np.flatnonzero((fields[_RUN] > 0) & (processors > 0))
    if not len(ran):
        raise ValueError(f"{path}: none of {len(line_of)} jobs ran; expected at least one that did")
    kept = ran[np.argsort(fields[_SUBMIT][ran], kind="stable")]
    run_s, requested_s = fields[_RUN][kept], fields[_REQUESTED_S][kept]
    columns = {
        "time_s": fields[_SUBMIT][kept],
        "run_s": run_s,
        "requested_s": np.where(requested_s > 0, requested_s, run_s),
        "processors": processors[kept].astype(np.int64),
        "user": fields[_USER][kept].astype(np.int64),
    }
    return JobLog(columns, float(np.nextafter(columns["time_s"][-1], np.inf)), 0.0, size)


def _fields(path: str | Path, lines: list[str]) -> tuple[dict[int, np.ndarray], list[int]]:
    """The columns that are read, by number, [n] float64, and the line of each row."""
    line_of = [i for i, line in enumerate(lines, 1) if line.strip() and line.lstrip()[0] != ";"]
    if not line_of:
        raise ValueError(f"{path}: no line of numbers; expected {NUM_FIELDS} of them in each")
    for line in line_of:
        if (count := len(lines[line - 1].split())) != NUM_FIELDS:
            raise ValueError(
                f"{path}, line {line}: {count} numbers, {lines[line - 1][:80]!r}; "
                f"expected {NUM_FIELDS}"
            )
    rows = io.StringIO("\n".join(lines[line - 1] for line in line_of))
    table = pd.read_csv(rows, sep=r"\s+", header=None, dtype=str, keep_default_na=False)
    fields = {}
    for field in range(1, NUM_FIELDS + 1):
        values = pd.to_numeric(table[field - 1], errors="coerce").to_numpy(np.float64)
        if not np.isfinite(values).all():
            row = int(np.argmin(np.isfinite(values)))
            raise ValueError(
                f"{path}, line {line_of[row]}, column {field}: {table[field - 1][row][:80]!r}; "
                "expected a finite number"
            )
        fields[field] = values
    return fields, line_of


def _size(path: str | Path, lines: list[str]) -> int:
    """The processors that the comments tell."""
    for name in _SIZES:
        for number, line in enumerate(lines, 1):
            if found := re.match(rf";\s*{name}\s*:\s*(.*)", line, re.IGNORECASE):
                value = found[1].split()[:1]
                if not value or not value[0].isdecimal() or int(value[0]) < 1:
                    raise ValueError(
                        f"{path}, line {number}: {line[:80]!r}; expected {name}: a whole number"
                    )
                return int(value[0])
    raise ValueError(f"{path}: no comment with {' or '.join(_SIZES)}; give num_processors")
