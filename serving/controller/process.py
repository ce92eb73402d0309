"""The process: its command line, and how it ends: on SIGTERM it leaves safe weights."""

import gc
import logging
import signal
import sys
from collections.abc import Callable

import tyro

from marlserve.serving.controller.chooser import Chooser
from marlserve.serving.controller.data_plane import DataPlane
from marlserve.serving.controller.envoy import Envoy
from marlserve.serving.controller.haproxy import LOOPBACK, HAProxy
from marlserve.serving.controller.heuristics import Heuristic
from marlserve.serving.controller.loop import Controller
from marlserve.serving.controller.metrics import Metrics
from marlserve.serving.controller.player import Policies
from marlserve.serving.controller.settings import Settings
from marlserve.serving.controller.shm import SharedMemory
from marlserve.serving.controller.sight import Sight, warm_up
from marlserve.serving.decisions.guard import Guard, Limits
from marlserve.serving.decisions.modes import Mode


def run(settings: Settings, stopped: Callable[[float], bool]) -> None:
    """Control a balancer until `stopped`, see `Controller.run`.

    Raises:
        OSError: if a port is taken.
    """
    config = settings.config
    metrics = Metrics(settings.servers)
    if settings.metrics_port:
        metrics.serve(LOOPBACK, settings.metrics_port)
    plane = data_plane(settings)
    chooser = Chooser(
        Mode(settings.mode, settings.share),
        Guard(Limits()),
        Heuristic(settings.heuristic, config),
        settings.fallback,
        settings.stretch_s,
        settings.oldest_policy_s,
    )
    policies = Policies(settings.policy, config, f"lb_{settings.balancer}")
    sight = Sight(config, settings.balancer, slow_motion=settings.slow_motion)
    warm_up()
    policies.start()
    gc.collect()
    gc.freeze()  # what is there for good is not looked through in a step
    try:
        Controller(plane, sight, chooser, policies, metrics).run(stopped)
    finally:
        policies.close()
        plane.close()


def data_plane(settings: Settings) -> DataPlane:
    """What the settings name.

    Raises:
        OSError: if its port is taken.
    """
    step_s = settings.config.step_s * settings.slow_motion
    if settings.backend == "shm":
        return SharedMemory(settings.shm, len(settings.servers), patience_s=8 * step_s)
    if settings.backend == "envoy":
        return Envoy(
            settings.envoy_log,
            settings.envoy_endpoints,
            settings.servers,
            settings.proxy,
            settings.envoy_admin,
            timeout_s=step_s / 2,
        )
    return HAProxy(
        settings.socket,
        settings.servers,
        settings.proxy,
        settings.log_port,
        timeout_s=step_s / 2,
    )


def main() -> None:
    """The command line."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    signals = (signal.SIGTERM, signal.SIGINT)
    try:
        settings = tyro.cli(Settings, config=(tyro.conf.OmitArgPrefixes,))
        # They wait until they are asked for: no step is cut off.
        signal.pthread_sigmask(signal.SIG_BLOCK, signals)
        run(settings, lambda seconds: signal.sigtimedwait(signals, seconds) is not None)
    except (ValueError, OSError) as error:
        sys.exit(f"error: {error}")
