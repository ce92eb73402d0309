"""Rules that order the jobs that wait: functions of `Measured`, [..., V], the lowest is first.

r is the requested time in seconds, n the processors, w the wait and s the time of submission on the
log's clock, in seconds. F1 to F4 were found by regression over simulated schedules (Carastan-Santos
and de Camargo: Obtaining dynamic scheduling policies with simulation and machine learning, SC
2017); WFP3 and UNICEF are Tang et al.'s (Fault-aware, utility-based job scheduling on Blue Gene/P
systems, CLUSTER 2009).
"""

from collections.abc import Callable

import numpy as np

from marlserve.envs.job_scheduling.observation import Measured

Rule = Callable[[Measured], np.ndarray]
_LEAST = 1e-9  # of what is divided by: jobs on one processor, empty slots


def fcfs(seen: Measured) -> np.ndarray:
    """First come, first served: s."""
    return -np.asarray(seen.wait_s)


def sjf(seen: Measured) -> np.ndarray:
    """The shortest request first: r."""
    return np.asarray(seen.requested_s)


def smallest(seen: Measured) -> np.ndarray:
    """The fewest processors first: n."""
    return np.asarray(seen.processors)


def area(seen: Measured) -> np.ndarray:
    """The least work first: r n. The public code of the reference calls it WFP."""
    return np.asarray(seen.requested_s) * seen.processors


def area_and_age(seen: Measured) -> np.ndarray:
    """r n + s. The public code of the reference calls it UNICEF."""
    return area(seen) + _submitted_s(seen)


def f1(seen: Measured) -> np.ndarray:
    """log10(r) n + 870 log10(s)."""
    return _log10(seen.requested_s) * seen.processors + 870.0 * _log10(_submitted_s(seen))


def f2(seen: Measured) -> np.ndarray:
    """sqrt(r) n + 25,600 log10(s)."""
    return np.sqrt(seen.requested_s) * seen.processors + 25_600.0 * _log10(_submitted_s(seen))


def f3(seen: Measured) -> np.ndarray:
    """r n + 6,860,000 log10(s)."""
    return area(seen) + 6.86e6 * _log10(_submitted_s(seen))


def f4(seen: Measured) -> np.ndarray:
    """r sqrt(n) + 530,000 log10(s)."""
    return seen.requested_s * np.sqrt(seen.processors) + 5.3e5 * _log10(_submitted_s(seen))


def wfp3(seen: Measured) -> np.ndarray:
    """-(w / r)^3 n."""
    return -((seen.wait_s / np.maximum(seen.requested_s, _LEAST)) ** 3) * seen.processors


def unicef(seen: Measured) -> np.ndarray:
    """-w / (log2(n) r): jobs on one processor come first, by w / r."""
    width = np.maximum(np.log2(np.maximum(seen.processors, 1)), _LEAST)
    return -seen.wait_s / (width * np.maximum(seen.requested_s, _LEAST))


def _submitted_s(seen: Measured) -> np.ndarray:
    return np.asarray(seen.time_s)[..., None] - seen.wait_s


def _log10(values: np.ndarray) -> np.ndarray:
    """Of 1 where it is less: nothing lasts shorter, and a log begins with its first second."""
    return np.log10(np.maximum(values, 1.0))


RULES: dict[str, Rule] = {
    rule.__name__: rule
    for rule in (fcfs, sjf, smallest, area, area_and_age, f1, f2, f3, f4, wfp3, unicef)
}
LASTING = tuple(name for name in RULES if name not in ("wfp3", "unicef"))  # orders that waits leave


def first(rule: Rule, seen: Measured) -> np.ndarray:
    """The slot that a rule chooses, [...], of those that may be started; of tied ones the one that
    came first."""
    slots = np.arange(np.shape(seen.wait_s)[-1])
    waits = slots < np.asarray(seen.shown_jobs)[..., None]
    may = waits if seen.grid is None else np.asarray(seen.grid.may)[..., 0, :]
    return np.where(may, rule(seen), np.inf).argmin(axis=-1)
