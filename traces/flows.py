r"""Recorded flows: files of `time<TAB>query` lines, where `n=` in the query is the work.

    traces.load("flows", path="rate_500.csv").at_rate(700.0).random_window(rng, 60.0)

The format of the load generator in the repository ZhiyuanYaoJ/MARLLB, folder
data/trace/poisson_for_loop:

    time<TAB>query
    0.1016761893328894<TAB>/dummy.php/?n=5478122

The first line is that header, every line ends in a newline, times are seconds in order, and n is
the number of iterations of a for-loop on the server. Columns: time_s; work_s = n over
`iterations_per_s`. The trace covers 0 to an instant after its last row.

The published files hold one list of 78,000 jobs with exponential n of mean 3.67 million, at
different rates. The paper says that jobs take 0.2 s in the mean, hence ITERATIONS_PER_S.

Reference: Yao, Ding, Clausen: Multi-agent reinforcement learning for network load balancing in
data center, CIKM 2022.
"""

import re
from pathlib import Path

import numpy as np

from marlserve.traces.base import Trace

COLUMNS = ("time_s", "work_s")
ITERATIONS_PER_S = 3.67e6 / 0.2

_NUMBER = r"[0-9]+(?:\.[0-9]*)?(?:[eE][+-]?[0-9]+)?"
_ROW = re.compile(rf"^({_NUMBER})\t[^\t\n]*[?&]n=([0-9]+)$", re.MULTILINE)


def load(
    rng: np.random.Generator | None = None,
    *,
    path: str | Path,
    iterations_per_s: float = ITERATIONS_PER_S,
) -> Trace:
    """Read the file at `path`.

    Args:
        rng: not used, as a recording is what it is; here for the sake of `traces.load`.
        iterations_per_s: how much of n one core of speed 1 does in a second.

    Raises:
        ValueError: for an empty file, another header, a line of another form, times out of order
            and a last line that is cut off; it names file, line, column, value and what is
            expected.
        OSError: if the file cannot be read.
    """
    if not 0.0 < iterations_per_s < np.inf:
        raise ValueError(f"iterations_per_s is {iterations_per_s}; expected a positive number")
    text = Path(path).read_bytes().decode("latin-1").replace("\r\n", "\n")
    header, _, body = text.partition("\n")
    if header != "time\tquery":
        raise ValueError(f"{path}, line 1: {header[:80]!r}; expected the header 'time\\tquery'")
    if not body:
        raise ValueError(f"{path}: no lines after the header; expected at least one flow")
    if not body.endswith("\n"):
        last = body.rpartition("\n")[2]
        raise ValueError(
            f"{path}, line {text.count(chr(10)) + 1}: {last[:80]!r} is cut off; "
            "expected a newline at the end of the file"
        )
    rows = _ROW.findall(body)
    if len(rows) != body.count("\n"):
        raise ValueError(f"{path}, {_first_bad_line(body)}")
    values = np.array(rows, dtype=np.float64)  # [n, 2]
    time_s, work_s = values[:, 0].copy(), values[:, 1] / iterations_per_s
    for name, column in {"time": time_s, "query": work_s}.items():
        if not np.isfinite(column).all():
            line = int(np.argmin(np.isfinite(column))) + 2
            raise ValueError(f"{path}, line {line}, column {name}: too large a number")
    early = np.flatnonzero(time_s[1:] < time_s[:-1])
    if len(early):
        row = int(early[0]) + 1
        raise ValueError(
            f"{path}, line {row + 2}, column time: {time_s[row]} is before {time_s[row - 1]} "
            "in the line above; expected times in order"
        )
    return Trace({"time_s": time_s, "work_s": work_s}, float(np.nextafter(time_s[-1], np.inf)))


def _first_bad_line(body: str) -> str:
    """What is wrong with the first line that is not a row."""
    for number, line in enumerate(body.split("\n"), start=2):
        if _ROW.fullmatch(line):
            continue
        time, tab, query = line.partition("\t")
        if not tab or "\t" in query:
            return f"line {number}: {line[:80]!r}; expected two columns, 'time<TAB>query'"
        if not re.fullmatch(_NUMBER, time):
            return f"line {number}, column time: {time[:80]!r}; expected non-negative seconds"
        return (
            f"line {number}, column query: {query[:80]!r}; expected a path that ends in "
            "'?n=' and a non-negative whole number"
        )
    raise AssertionError("every line is a row")
