"""The controller as a process beside a real HAProxy: whatever is killed, traffic goes on."""

import re
import socket
import threading
import time
from contextlib import contextmanager

import numpy as np
import pytest
from weight_policies import policy_file

from marlserve.envs.load_balance import Config
from marlserve.experiments.testbed import haproxy
from marlserve.experiments.testbed.balancer import BACKEND
from marlserve.experiments.testbed.controllers import Controller
from marlserve.experiments.testbed.episode import servers
from marlserve.experiments.testbed.replay import replay
from marlserve.policies import export

pytestmark = pytest.mark.slow

CONFIG = Config(num_balancers=1, cores=(1, 1, 2), weight_levels=(0.5, 1.0, 2.0), step_s=0.1)
BY_CORES, BY_POLICY = [16, 16, 32], [32, 8, 16]
PATIENCE_S = 20.0


def weights(balancer: haproxy.HAProxy) -> list[int]:
    """In force."""
    with socket.socket(socket.AF_UNIX) as runtime:
        runtime.connect(str(balancer.socket))
        asked = (f"get weight {BACKEND}/{name}" for name in haproxy.names(3))
        runtime.sendall(";".join(asked).encode() + b"\n")
        text = b""
        while part := runtime.recv(4096):
            text += part
    return [int(x) for x in re.findall(r"^(\d+) \(initial", text.decode(), re.MULTILINE)]


def until(condition) -> None:
    end_s = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < end_s, "it takes too long"
        time.sleep(0.05)


class Traffic(threading.Thread):
    """Flows from now on for so many seconds."""

    def __init__(self, port: int, seconds: float):
        super().__init__()
        self._time_s = np.arange(0.0, seconds, 0.02)
        self._port, self.begin_s = port, time.monotonic() + 0.2
        self.start()

    def run(self) -> None:
        number = len(self._time_s)
        jobs = self._time_s, np.full(number, 0.005), np.zeros(number, int)
        self.flows = replay(*jobs, [self._port], self.begin_s)

    def ended(self) -> np.ndarray:
        self.join()
        return self.flows


@contextmanager
def world(folder, *flags):
    """A balancer under a controller with a policy, and the policy's folder."""
    policy = export.save(policy_file(config=CONFIG), folder / "policy")
    flags = flags or ("--policy", str(policy), "--mode", "policy", "--share", "1")
    with (
        servers(CONFIG) as (_, ports),
        haproxy.HAProxy(folder, ports, "leastconn", BY_CORES) as balancer,
        Controller(balancer, CONFIG, 0, flags) as controller,
    ):
        yield balancer, controller, policy


def test_it_plays_the_policy_and_leaves_safe_weights_on_sigterm(tmp_path):
    with world(tmp_path) as (balancer, controller, _):
        until(lambda: weights(balancer) == BY_POLICY)
        flows = Traffic(balancer.port, 1.0).ended()
        assert (flows["status"] == 200).all()
        until(lambda: controller.total("controller_completed_total") == len(flows))
        told = controller.metrics()
        assert told["controller_flow_seconds_count"][""] == len(flows)
        assert told["controller_decisions_total"]['reason="policy"'] > 5
        assert told["controller_weight"] == {
            'server="s0"': 2.0,
            'server="s1"': 0.5,
            'server="s2"': 1.0,
        }
        assert sum(told["controller_lost"].values()) == 0
        controller.stop()
        assert weights(balancer) == BY_CORES


def test_traffic_goes_on_when_the_controller_is_killed(tmp_path):
    with world(tmp_path) as (balancer, controller, _):
        until(lambda: weights(balancer) == BY_POLICY)
        traffic = Traffic(balancer.port, 2.0)
        time.sleep(0.7)
        controller.kill()
        flows = traffic.ended()
        assert (flows["status"] == 200).all()
        assert weights(balancer) == BY_POLICY, "the last ones stay"
        controller.start()
        assert (Traffic(balancer.port, 0.5).ended()["status"] == 200).all()


def test_traffic_goes_on_when_the_policy_is_lost(tmp_path):
    with world(tmp_path) as (balancer, controller, policy):
        traffic = Traffic(balancer.port, 2.0)
        for part in policy.iterdir():
            part.unlink()
        flows = traffic.ended()
        assert (flows["status"] == 200).all()
        assert weights(balancer) == BY_POLICY, "it is in memory"
        controller.kill()
        controller.start()
        until(lambda: weights(balancer) == BY_CORES)
        assert controller.metrics()["controller_decisions_total"]['reason="no_policy"'] > 0
        policy.rmdir()
        export.save(policy_file(config=CONFIG), policy)
        until(lambda: weights(balancer) == BY_POLICY)


def test_a_balancer_that_is_killed_loses_what_it_had_and_gets_its_weights_again(tmp_path):
    with world(tmp_path) as (balancer, controller, _):
        until(lambda: weights(balancer) == BY_POLICY)
        traffic = Traffic(balancer.port, 3.0)
        time.sleep(0.7)
        died_s = time.monotonic() - traffic.begin_s
        balancer.stop()
        time.sleep(0.5)
        balancer.start()
        lives_s = time.monotonic() - traffic.begin_s
        until(lambda: weights(balancer) == BY_POLICY)
        flows = traffic.ended()
        good = flows["status"] == 200
        sent_s, ended_s = flows["sent_s"], flows["sent_s"] + flows["latency_s"]
        assert good[(ended_s < died_s) | (sent_s > lives_s)].all()
        assert (~good[(sent_s > died_s) & (ended_s < lives_s)]).any()
        assert controller.total("controller_unreachable_total") > 0
        assert controller.process.poll() is None
