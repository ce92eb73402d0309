"""A real HAProxy: by what key it chooses, what the controller learns from it, what it obeys."""

import signal
import socket
import time

import numpy as np
import pytest
from held_servers import PATIENCE_S, request

from marlserve.envs.sims.cluster import Cluster
from marlserve.experiments.testbed import haproxy
from marlserve.experiments.testbed.balancer import BACKEND, free_port
from marlserve.serving.controller.data_plane import Unreachable
from marlserve.serving.controller.haproxy import HAProxy

WEIGHTS = [32, 11, 5]


@pytest.fixture
def balancer(held, tmp_path):
    with haproxy.HAProxy(tmp_path, held.ports, "leastconn", WEIGHTS) as running:
        yield running


@pytest.fixture
def plane(balancer):
    made = HAProxy(
        balancer.socket, haproxy.names(3), BACKEND, balancer.log_port, timeout_s=PATIENCE_S
    )
    yield made
    made.close()


def send(balancer, held, number: int) -> list[socket.socket]:
    """One after another, each when the one before has come to its server."""
    before, sent = len(held.order), []
    for index in range(number):
        sent.append(request(balancer.port))
        held.arrived(before + index + 1)
    return sent


def until_seen(plane, number: int):
    """What the plane saw, once so many flows have ended."""
    completed, failed, until_s = [], [], time.monotonic() + PATIENCE_S
    while len(completed) + len(failed) < number:
        assert time.monotonic() < until_s, f"{len(completed)} completed, {len(failed)} failed"
        seen = plane.look()
        completed += seen.completed
        failed += seen.failed
        time.sleep(0.01)
    return completed, failed


def places(weights: list[int], number: int) -> list[int]:
    """Where flows that do not end go, by what the controller's module says of leastconn."""
    flows, keys, order = [0] * len(weights), [(0, j) for j in range(len(weights))], []
    for turn in range(len(weights), len(weights) + number):
        chosen = min(range(len(weights)), key=lambda j: keys[j])
        flows[chosen] += 1
        keys[chosen] = 256 * (flows[chosen] + 1) // weights[chosen], turn
        order.append(chosen)
    return order


@pytest.mark.parametrize("weights", [WEIGHTS, [256, 96, 40], [1, 1, 1], [7, 256, 1]])
def test_the_key_of_leastconn(held, tmp_path, weights):
    number = 25
    with haproxy.HAProxy(tmp_path, held.ports, "leastconn", weights) as balancer:
        connections = send(balancer, held, number)
        assert held.order == places(weights, number)
        assert held.order[:3] == [0, 1, 2], "idle servers come first, whatever their weights"
    assert len(connections) == number


def test_the_simulator_has_that_rule():
    """With weights whose keys never tie, but for those of idle servers."""
    number, none = 25, np.zeros(25)
    cluster, order, before = Cluster(1, 1, np.ones(3), "least_connections"), [], np.zeros(3, int)
    cluster.add(0, np.arange(number), np.full(number, 1e6), none.astype(int), none)
    for now_s in range(number):
        cluster.advance(np.array([[WEIGHTS]], float), float(now_s))
        (changed,) = np.flatnonzero(cluster.ongoing[0, 0] - before)
        order.append(int(changed))
        before = cluster.ongoing[0, 0].copy()
    assert order == places(WEIGHTS, number)


def test_of_equal_servers_it_takes_the_one_that_has_been_so_for_longest(held, tmp_path):
    with haproxy.HAProxy(tmp_path, held.ports, "leastconn") as balancer:
        for turn in (0, 1, 2, 0, 1):
            (sent,) = send(balancer, held, 1)
            assert held.order[-1] == turn
            held.answer()
            assert sent.recv(100).startswith(b"HTTP/1.1 200")


def test_the_controller_sees_flows_in_progress_and_completed(balancer, held, plane):
    begin_s = time.time()
    sent = send(balancer, held, 5)
    seen = plane.look()
    assert [flow.server for flow in seen.ongoing].count(0) == held.order.count(0)
    assert sorted(flow.server for flow in seen.ongoing) == sorted(held.order)
    assert all(begin_s <= flow.began_s <= seen.now_s for flow in seen.ongoing)
    assert all(flow.duration_s == seen.now_s - flow.began_s for flow in seen.ongoing)
    held.answer()
    completed, failed = until_seen(plane, 5)
    assert sorted(flow.server for flow in completed) == sorted(held.order)
    assert failed == []
    for flow in completed:
        assert begin_s <= flow.began_s
        assert 0.0 < flow.duration_s <= time.time() - begin_s
    assert plane.look().ongoing == []
    assert plane.lost == {"dropped": 0}
    assert sent


def test_failures_are_told_apart(balancer, held, plane):
    sent = send(balancer, held, 3)
    held.answer(b"HTTP/1.1 503 Full\r\nContent-Length: 0\r\n\r\n")
    completed, failed = until_seen(plane, 3)
    assert (completed, sorted(flow.server for flow in failed)) == ([], [0, 1, 2])
    assert len(sent) == 3


def test_it_obeys(balancer, held, plane):
    plane.apply(np.array([0.0, 0.5, 2.0]))
    sent = send(balancer, held, 8)
    assert held.order[:2] in ([1, 2], [2, 1])
    assert held.order.count(0) == 0, "weight 0 drains"
    assert held.order.count(2) == 7, held.order
    plane.apply(np.array([1e-9, 1.0, 1.0]))
    sent += send(balancer, held, 1)
    assert held.order[-1] == 0, "the least weight is not 0: an idle server gets a flow"


def test_a_balancer_that_is_killed_and_comes_again(balancer, held, plane):
    plane.apply(np.array([1.0, 1.0, 1.0]))
    balancer.stop()
    for ask in (plane.look, lambda: plane.apply(np.ones(3))):
        with pytest.raises(Unreachable, match="does not answer"):
            ask()
    balancer.start()
    assert plane.look().ongoing == []
    plane.apply(np.ones(3))


def test_a_balancer_that_hangs_is_not_waited_for(balancer):
    hasty = HAProxy(balancer.socket, haproxy.names(3), BACKEND, free_port(), timeout_s=0.1)
    balancer.process.send_signal(signal.SIGSTOP)
    try:
        with pytest.raises(Unreachable, match="does not answer"):
            hasty.look()
    finally:
        balancer.process.send_signal(signal.SIGCONT)
        hasty.close()


def test_what_it_does_not_know_is_said(balancer, held):
    other = HAProxy(balancer.socket, ["s0", "none"], "servers", free_port(), PATIENCE_S)
    try:
        with pytest.raises(Unreachable, match="No such server"):
            other.apply(np.ones(2))
    finally:
        other.close()


def test_lines_that_say_nothing_are_counted(plane, balancer):
    left = b"1 2 s0 200 CD"  # the client: nobody's failure
    lost = b"1 2 <NOSRV> 503 SC"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as anyone:
        for line in (left, b"?", b"2 1 s0 200 --", b"1 2 s9 200 --", b"1 2 s0 x --", b"\xff", lost):
            anyone.sendto(line, ("127.0.0.1", balancer.log_port))
    completed, failed = until_seen(plane, 1)
    assert (completed, [flow.server for flow in failed]) == ([], [-1])
    assert plane.lost["garbled"] == 5, plane.lost
