"""Ray, started quietly, and only if something runs remotely.

An `Algorithm` of ours whose env runners and learners are all in its own process needs no Ray. Where
none runs, `alone()` holds the few objects that RLlib puts into Ray's store, and no cluster is
started, which takes seconds.

`start()` starts one that keeps the terminal for results: no dashboard, no telemetry, no notes of
Ray and RLlib about themselves, neither here nor in the workers. Workers compute with one thread
each, because there are as many of them as cores, and hash strings alike, so that a run repeats.

Errors still show: a failed worker raises in the driver, and what workers print is forwarded. Token
authentication stays as Ray sets it; only the note about it is silenced. One line remains that no
setting of Ray removes: its C++ core announces each restartable remote env runner ("... has
constructor arguments in the object store and max_restarts > 0").
"""

import logging
import os
import time
from dataclasses import dataclass
from math import ceil
from typing import Any

import ray
from ray import cloudpickle

_NOISY = (
    "ray._common.deprecation",  # RLlib's calls of what RLlib deprecated
    "ray._private.authentication",  # "Token authentication is enabled for this Ray cluster"
    "ray.train",  # "Checkpoint successfully created at: ..."
    "ray.rllib",  # "You are running PPO on the new API stack!"
    "ray.tune",  # "Install gputil for GPU system monitoring."
)
_WORKER_ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "NUMBA_NUM_THREADS": "1",
    "PYTHONHASHSEED": "0",
}
_TOO_SLOW = ("timed out", "failed to start gcs")  # in what Ray says
_PATIENCE_S = 15.0
_started: dict[str, str] = {}  # {node id: address} of the Ray that `start` started or joined
_OBJECT_STORE_BYTES = 200 * 1024**2  # weights and episodes of small networks; else 30 % of memory


class Unavailable(RuntimeError):
    """Ray does not start, or has too few cores for what is asked."""


def start(num_cpus: int | None = None) -> None:
    """Start Ray on this machine, or join the cluster that RAY_ADDRESS names; once is enough.

    If it runs already with fewer cores than are asked for, a Ray that was started here and has
    nothing to do is started anew with as many. A start that is too slow for Ray is tried once more.

    Args:
        num_cpus: cores that a Ray on this machine hands out; all of them by default. A cluster
            that is joined has its own number.

    Raises:
        ValueError: if `num_cpus` is less than 1.
        Unavailable: if Ray runs with fewer cores and is in use, or was not started here; and if
            it does not start.
    """
    if num_cpus is not None and num_cpus < 1:
        raise ValueError(f"num_cpus is {num_cpus}; it must be at least 1")
    quiet()
    if not ray.is_initialized():
        _init(num_cpus)
    elif num_cpus is not None and not _is_joined() and _total() < num_cpus:
        if not _is_ours():
            raise Unavailable(
                f"Ray runs with {_total():g} CPUs, but {num_cpus} are asked for; whoever started "
                f"it must give it as many, e.g. ray.init(num_cpus={num_cpus}), or ask for fewer "
                "env runners and learners"
            )
        if not _becomes_free(_total()):
            raise Unavailable(
                f"Ray was started with {_total():g} CPUs and {_total() - _free():g} of them are in "
                f"use, but {num_cpus} are asked for; stop() the algorithms that run, or call "
                f"session.start(num_cpus={num_cpus}) before the first of them is built"
            )
        stop()
        _init(num_cpus)


def provide(num_cpus: float) -> None:
    """Make sure that so many cores can be had; without them, whoever asks Ray waits for ever.

    A cluster that was joined, or a Ray that was not started here, is left to itself.

    Args:
        num_cpus: what remote env runners and learners will ask for.

    Raises:
        Unavailable: as in `start`, and if the cores are there but in use.
    """
    if not ray.is_initialized():
        start(max(os.cpu_count() or 1, ceil(num_cpus)))
    elif _is_ours() and not _is_joined():
        if _total() < num_cpus:
            start(ceil(num_cpus))
        elif not _becomes_free(num_cpus):
            raise Unavailable(
                f"Ray has {_total():g} CPUs, of which {_free():g} are free, but {num_cpus:g} are "
                "asked for by env runners and learners; stop() the algorithms that run, or call "
                "session.start(num_cpus=...) with enough for all before the first of them is built"
            )


@dataclass(frozen=True)
class _Held:
    """An object that Ray would store, copied as Ray copies it."""

    content: bytes


def alone() -> None:
    """Let RLlib put objects, and get them, without Ray: all that it asks of it where nothing is
    remote. If Ray runs, now or later, it has them."""
    quiet()
    ray.put, ray.get = _put, _get


_rays_put, _rays_get = ray.put, ray.get


def _put(value: Any, **kwargs: Any) -> Any:
    if ray.is_initialized():
        return _rays_put(value, **kwargs)
    return _Held(cloudpickle.dumps(value))


def _get(references: Any, **kwargs: Any) -> Any:
    if isinstance(references, _Held):
        return cloudpickle.loads(references.content)
    if isinstance(references, list) and any(isinstance(each, _Held) for each in references):
        return [_get(each, **kwargs) for each in references]
    return _rays_get(references, **kwargs)


def _init(num_cpus: int | None) -> None:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    address = os.environ.get("RAY_ADDRESS", "local")
    own = {
        "num_cpus": num_cpus,
        "object_store_memory": _OBJECT_STORE_BYTES,
        # Workers that Ray starts in advance lack `_WORKER_ENVIRONMENT`: nobody would use them.
        "_system_config": {"prestart_worker_first_driver": False},
    }
    for is_last in (False, True):
        try:
            ray.init(
                address=address,
                include_dashboard=False,
                logging_level=logging.ERROR,
                runtime_env={
                    "env_vars": _WORKER_ENVIRONMENT,
                    "worker_process_setup_hook": "marlserve.policies.session.quiet",
                },
                **(own if address == "local" else {}),
            )
            break
        except Exception as error:  # Ray has no class for it: it grants a busy machine 30 s
            ray.shutdown()
            if not any(words in str(error).lower() for words in _TOO_SLOW):
                raise
            if is_last:
                raise Unavailable(
                    f"Ray did not start in two tries; it says: {error} This machine may be too "
                    "busy or short of memory: try again when it is less so, or start Ray by "
                    "`ray start --head` beforehand and set RAY_ADDRESS=auto"
                ) from error
    _started.clear()
    _started[ray.get_runtime_context().get_node_id()] = address


def _is_ours() -> bool:
    """Whether the Ray that runs is the one that this process started, or joined, by `start`."""
    return ray.get_runtime_context().get_node_id() in _started


def _is_joined() -> bool:
    return _started.get(ray.get_runtime_context().get_node_id(), "local") != "local"


def _total() -> float:
    return ray.cluster_resources().get("CPU", 0.0)


def _free() -> float:
    return ray.available_resources().get("CPU", 0.0)


def _becomes_free(num_cpus: float) -> bool:
    """Whether so many cores are free, now or soon: actors that were stopped take a while to end."""
    patience_s = time.monotonic() + _PATIENCE_S
    while _free() < num_cpus:
        if time.monotonic() > patience_s:
            return False
        time.sleep(0.1)
    return True


def stop() -> None:
    """Stop Ray, or leave the cluster; nothing happens if it does not run."""
    ray.shutdown()


def quiet() -> None:
    """Silence what Ray and RLlib say about themselves in this process; errors still show."""
    for name in _NOISY:
        logging.getLogger(name).setLevel(logging.ERROR)
