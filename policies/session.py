"""Ray, started quietly.

`start()`, called before an `Algorithm` is built, keeps the terminal for results: no dashboard, no
telemetry, no notes of Ray and RLlib about themselves, neither here nor in the workers. Workers
compute with one thread each, because there are as many of them as cores, and hash strings alike,
so that a run repeats.

Errors still show: a failed worker raises in the driver, and what workers print is forwarded. Token
authentication stays as Ray sets it; only the note about it is silenced. One line remains that no
setting of Ray removes: its C++ core announces each restartable remote env runner ("... has
constructor arguments in the object store and max_restarts > 0").
"""

import logging
import os

import ray

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
_OBJECT_STORE_BYTES = 200 * 1024**2  # weights and episodes of small networks; else 30 % of memory


def start(num_cpus: int | None = None) -> None:
    """Start Ray on this machine, or join the cluster that RAY_ADDRESS names; once is enough.

    Args:
        num_cpus: cores that a Ray on this machine hands out; all of them by default. A cluster
            that is joined has its own number.

    A start that times out is tried once more.

    Raises:
        ValueError: if `num_cpus` is less than 1.
    """
    if num_cpus is not None and num_cpus < 1:
        raise ValueError(f"num_cpus is {num_cpus}; it must be at least 1")
    quiet()
    if ray.is_initialized():
        return
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    address = os.environ.get("RAY_ADDRESS", "local")
    resources = {"num_cpus": num_cpus, "object_store_memory": _OBJECT_STORE_BYTES}
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
                **(resources if address == "local" else {}),
            )
            return
        except Exception as error:  # Ray's own class: it grants a busy machine 30 s to start
            if is_last or "timed out during startup" not in str(error):
                raise
            ray.shutdown()


def stop() -> None:
    """Stop Ray, or leave the cluster; nothing happens if it does not run."""
    ray.shutdown()


def quiet() -> None:
    """Silence what Ray and RLlib say about themselves in this process; errors still show."""
    for name in _NOISY:
        logging.getLogger(name).setLevel(logging.ERROR)
