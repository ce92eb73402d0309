"""What the scheduler sees, from what it measures.

    observe(measured, config)  # [..., V, F] float32 in [0, 1]; [..., F + 2] with action="inspect"

With several clusters there is a row for each action, see `grid`.

`Measured` holds plain numbers in physical units, which a simulated cluster and one in service both
have: nothing here knows the simulator. Times, work and counts x are shown as x / (x + scale): of
times from seconds to days, several scales together tell about the logarithm.
"""

from typing import NamedTuple

import numpy as np
from numba import njit

from marlserve.envs.job_scheduling.grid import Grid, by_action
from marlserve.envs.job_scheduling.grid import features as beside_features

FEATURES = (
    "waits",  # 1 in slots with a job
    "wait_600",  # seconds since it was submitted, scale 600 s
    "wait_20000",
    "requested_30",  # seconds that it may run
    "requested_600",
    "requested_12000",
    "processors",  # of all
    "few_processors",  # scale: 1/32 of all
    "work_10",  # seconds times processors, over all processors; scale 10 s
    "work_600",
    "urgency",  # wait / (wait + requested, at least 10 s)
    "startable",  # whether its processors are free
    "start_in",  # seconds until by their limits enough will have ended; scale 3600 s
    "user_share",  # of all processors, that its user's jobs have
    "place",  # in order of arrival: slot / V
    "free",  # processors, of all; from here on the same in all slots
    "queue",  # jobs that wait, shown or not; scale 32
    "running",  # jobs; scale 32
    "startable_share",  # of the jobs that are shown
)
_NUMBER = np.float32  # as observations are; twice as fast as twice as exact ones
INSPECTOR_FEATURES = ("rejections", "pressure")  # share of the allowed ones; see `_pressure`


class Measured(NamedTuple):
    """Of one cluster at one moment; leading axes as many as there are, such as copies.

    Slots are [..., V], those with a job before those without, whose numbers are 0.
    """

    shown_jobs: np.ndarray  # slots with a job, [...]
    wait_s: np.ndarray  # since it was submitted, [..., V]
    requested_s: np.ndarray  # [..., V]
    processors: np.ndarray  # that it needs, [..., V]
    start_in_s: np.ndarray  # until by their limits enough will have ended; 0: now, [..., V]
    user_processors: np.ndarray  # on which jobs of the same user run, [..., V]
    rejections: np.ndarray  # how often it was rejected, [..., V]
    time_s: np.ndarray  # of the log, [...]
    free_processors: np.ndarray  # [...]
    waiting_jobs: np.ndarray  # shown or not, [...]
    running_jobs: np.ndarray  # [...]
    num_processors: np.ndarray  # of the cluster, [...]
    proposed: np.ndarray  # the slot that the rule proposes with action="inspect"; -1, [...]
    grid: Grid | None = None  # with several clusters


OF_ALL = ("free_processors", "waiting_jobs", "running_jobs", "num_processors")
BY_SLOT = ("wait_s", "requested_s", "processors", "start_in_s", "user_processors")


def features(config) -> tuple[str, ...]:
    """The names of what is seen of each slot, or of the proposed job, in order."""
    more = INSPECTOR_FEATURES if config.action == "inspect" else ()
    return (*FEATURES, *more, *beside_features(len(config.clusters)))


def observe(measured: Measured, config) -> np.ndarray:
    """The observations by `features`, float32."""
    leading, slots = np.shape(measured.shown_jobs), np.shape(measured.wait_s)[-1]
    seen = np.zeros((*leading, slots, len(FEATURES)), np.float32)
    rows = seen.reshape(-1, slots, len(FEATURES))
    shown = np.asarray(measured.shown_jobs, np.int64).reshape(-1)
    by_slot = tuple(_array(measured, name).reshape(-1, slots) for name in BY_SLOT)
    of_all = tuple(_array(measured, name).reshape(-1) for name in OF_ALL)
    fill(rows, shown, by_slot, of_all)
    if measured.grid is not None:
        jobs = measured.shown_jobs, measured.processors, measured.requested_s
        return by_action(seen, measured.grid, *jobs, config.transfer_s)
    return inspected(measured, seen, config) if config.action == "inspect" else seen


def _array(measured: Measured, name: str) -> np.ndarray:
    return np.asarray(getattr(measured, name), float)


def inspected(measured: Measured, seen: np.ndarray, config) -> np.ndarray:
    """The proposed job's row of what is `seen`, and INSPECTOR_FEATURES: [..., F + 2]."""
    slot = np.asarray(measured.proposed)[..., None]
    row = np.take_along_axis(seen, slot[..., None], axis=-2)[..., 0, :]
    rejections = np.take_along_axis(np.asarray(measured.rejections), slot, axis=-1)
    share = np.minimum(rejections / max(config.max_rejections, 1), 1.0)
    more = np.concatenate((share, _pressure(measured, config)[..., None]), axis=-1)
    return np.concatenate((row, more.astype(np.float32)), axis=-1)


def _pressure(measured: Measured, config) -> np.ndarray:
    """By how much the bounded slowdowns of all that are shown grow in rejection_s; scale 1."""
    requested_s = np.asarray(measured.requested_s)
    waits = np.arange(requested_s.shape[-1]) < np.asarray(measured.shown_jobs)[..., None]
    grows = (config.rejection_s * waits / np.maximum(requested_s, 10.0)).sum(axis=-1)
    return grows / (grows + 1.0)


@njit(cache=True, error_model="numpy")
def fill(rows, shown, by_slot, of_all):
    """Write what is seen to rows [B, V, F], float32 that are 0.

    Args:
        shown: slots with a job, [B].
        by_slot: arrays [B, V], by BY_SLOT.
        of_all: arrays [B], by OF_ALL.
    """
    wait_s, requested_s, processors, start_in_s, user_processors = by_slot
    free, waiting, running, size = of_all
    one, per_slot = _NUMBER(1.0), _NUMBER(1.0 / rows.shape[1])
    for b in range(len(rows)):
        per_processor, few = _NUMBER(1.0 / size[b]), _NUMBER(size[b] / 32.0)  # divisions take time
        of_free, of_queue = _NUMBER(free[b] * per_processor), _share(_NUMBER(waiting[b]), 32.0)
        of_running, startable = _share(_NUMBER(running[b]), 32.0), 0
        for k in range(shown[b]):
            row = rows[b, k]
            w, r = _NUMBER(wait_s[b, k]), _NUMBER(requested_s[b, k])
            n, soon = _NUMBER(processors[b, k]), _NUMBER(start_in_s[b, k])
            work = r * n * per_processor
            starts = n <= free[b]
            startable += starts
            row[0] = one
            row[1], row[2] = _share(w, 600.0), _share(w, 20_000.0)
            row[3], row[4], row[5] = _share(r, 30.0), _share(r, 600.0), _share(r, 12_000.0)
            row[6], row[7] = n * per_processor, _share(n, few)
            row[8], row[9] = _share(work, 10.0), _share(work, 600.0)
            row[10] = _share(w, max(r, _NUMBER(10.0)))
            row[11], row[12] = starts, _share(soon, 3600.0)
            row[13] = _NUMBER(user_processors[b, k]) * per_processor
            row[14] = _NUMBER(k) * per_slot
            row[15], row[16], row[17] = of_free, of_queue, of_running
        startable_share = _NUMBER(startable / max(shown[b], 1))
        for k in range(shown[b]):
            rows[b, k, 18] = startable_share


@njit(cache=True, error_model="numpy")
def _share(value, scale):
    return value / (value + _NUMBER(scale))
