"""Controllers of `marlserve.serving`, each a process beside its balancer.

with Controller(balancer, config, 0, ["--policy", "my_policy"]) as controller:
    controller.metrics()["controller_decisions_total"]
"""

import re
import subprocess
import sys
import time
from collections.abc import Sequence
from urllib.request import urlopen

from marlserve.envs.load_balance import Config
from marlserve.experiments.testbed.balancer import Balancer, free_port

_START_S, _END_S = 120.0, 10.0  # the first start on a machine compiles
_LINE = re.compile(r"^(\w+)(?:\{(.*)\})? (\S+)$", re.MULTILINE)


class Controller:
    """One process.

    Args:
        balancer: what it controls.
        config: the problem that its policy was trained on.
        number: which of the balancers it is.
        flags: of `python -m marlserve.serving.controller`, beyond those that follow from these.
    """

    def __init__(self, balancer: Balancer, config: Config, number: int, flags: Sequence[str]):
        self._port = free_port()
        given: dict[str, Sequence[object]] = {
            "balancer": [number],
            "num-balancers": [config.num_balancers],
            "cores": config.cores,
            "weight-levels": config.weight_levels,
            "step-s": [config.step_s],
            "metrics-port": [self._port],
        }
        words = [word for name, values in given.items() for word in (f"--{name}", *values)]
        self._command = [sys.executable, "-m", "marlserve.serving.controller"]
        self._command += [*map(str, words), *balancer.flags(), *flags]
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Begin, and wait for its first decision.

        Raises:
            TimeoutError: if there is none.
        """
        self.process = subprocess.Popen(self._command)
        until_s = time.monotonic() + _START_S
        while True:
            try:
                if self.total("controller_decisions_total") > 0.0:
                    return
            except OSError:
                pass
            if self.process.poll() is not None or time.monotonic() > until_s:
                raise TimeoutError(f"the controller does not start: {' '.join(self._command)}")
            time.sleep(0.1)

    def stop(self) -> None:
        """In order: it leaves safe weights."""
        if self.process is not None:
            self.process.terminate()
            self.process.wait(_END_S)
            self.process = None

    def kill(self) -> None:
        """At once."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def metrics(self) -> dict[str, dict[str, float]]:
        """What it tells Prometheus: {name: {labels: value}}.

        Raises:
            OSError: if it does not answer.
        """
        with urlopen(f"http://127.0.0.1:{self._port}/metrics", timeout=2.0) as answer:
            text = answer.read().decode()
        found: dict[str, dict[str, float]] = {}
        for name, labels, value in _LINE.findall(text):
            found.setdefault(name, {})[labels] = float(value)
        return found

    def total(self, name: str) -> float:
        """Of a counter, over its labels; errors as of `metrics`."""
        return sum(self.metrics().get(name, {}).values())

    def __enter__(self) -> "Controller":
        self.start()
        return self

    def __exit__(self, *_) -> None:
        self.kill()
