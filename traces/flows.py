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

from pathlib import Path

import numpy as np

from marlserve.traces.base import Trace
from marlserve.traces.csv_file import CsvFile

COLUMNS = ("time_s", "work_s")
ITERATIONS_PER_S = 3.67e6 / 0.2

_N = r"[?&]n=(?P<value>[0-9]+)$"
_QUERY = "a path that ends in '?n=' and a finite, non-negative whole number"


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
    file = CsvFile(path, delimiter="\t")
    file.expect_columns("time", "query")
    time_s = file.numbers("time")
    file.check("time", time_s >= 0.0, "non-negative seconds")
    in_order = np.append(True, time_s[1:] >= time_s[:-1])
    file.check("time", in_order, "a time that is not before the one in the line above")
    work_s = file.numbers("query", _N, _QUERY) / iterations_per_s
    if not file.ends_in_newline:
        raise file.error("query", len(time_s) - 1, f"{_QUERY}, and a newline: it may be cut off")
    return Trace({"time_s": time_s, "work_s": work_s}, float(np.nextafter(time_s[-1], np.inf)))
