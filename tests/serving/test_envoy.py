"""A real Envoy: what the controller learns from it, and what it obeys."""

import json
import time

import numpy as np
import pytest
from held_servers import PATIENCE_S, request

from marlserve.experiments.testbed import envoy
from marlserve.serving.controller.data_plane import Unreachable
from marlserve.serving.controller.envoy import Envoy, assignment
from marlserve.serving.controller.settings import Settings

pytestmark = pytest.mark.slow


@pytest.fixture
def balancer(held, tmp_path):
    with envoy.Envoy(tmp_path, held.ports, [1, 1, 2]) as running:
        yield running


@pytest.fixture
def plane(balancer):
    return of(balancer)


def of(balancer) -> Envoy:
    """As the command makes it."""
    words = balancer.flags()
    flags, at = dict(zip(words[:-4:2], words[1:-4:2], strict=True)), words.index("--servers")
    return Envoy(
        flags["--envoy-log"],
        flags["--envoy-endpoints"],
        words[at + 1 :],
        flags["--proxy"],
        flags["--envoy-admin"],
        PATIENCE_S,
    )


def until_seen(plane, completed: int = 0, failed: int = 0, ongoing: int = 0):
    """All that the plane saw, once it is so much."""
    ended: tuple[list, list] = ([], [])
    until_s = time.monotonic() + PATIENCE_S
    while True:
        seen = plane.look()
        ended[0].extend(seen.completed)
        ended[1].extend(seen.failed)
        if (len(ended[0]), len(ended[1]), len(seen.ongoing)) == (completed, failed, ongoing):
            return seen._replace(completed=ended[0], failed=ended[1])
        assert time.monotonic() < until_s, (ended, seen.ongoing)
        time.sleep(0.02)


def send(balancer, held, number: int) -> list:
    before, sent = len(held.order), []
    for index in range(number):
        sent.append(request(balancer.port))
        held.arrived(before + index + 1)
    return sent


def test_the_controller_sees_flows_in_progress_and_completed(balancer, held, plane):
    begin_s = time.time()
    sent = send(balancer, held, 6)
    seen = until_seen(plane, ongoing=6)
    assert sorted(flow.server for flow in seen.ongoing) == sorted(held.order)
    for flow in seen.ongoing:
        assert begin_s - 0.01 <= flow.began_s
        assert flow.duration_s == seen.now_s - flow.began_s
    held.answer()
    seen = until_seen(plane, completed=6)
    assert sorted(flow.server for flow in seen.completed) == sorted(held.order)
    assert all(0.0 < flow.duration_s <= time.time() - begin_s for flow in seen.completed)
    sent += send(balancer, held, 2)
    held.answer(b"HTTP/1.1 503 Full\r\nContent-Length: 0\r\n\r\n")
    assert len(until_seen(plane, failed=2).failed) == 2
    assert plane.lost == {"garbled": 0}
    assert len(sent) == 8


def test_it_obeys_and_is_missed_when_it_is_killed(balancer, held, plane):
    plane.apply(np.array([0.0, 1.0, 4.0]))
    until_s, sent = time.monotonic() + PATIENCE_S, []
    while True:  # until it has read the file
        sent += send(balancer, held, 10)
        if held.order[-10:].count(0) == 0:
            break
        assert time.monotonic() < until_s
    held.answer()
    until_seen(plane, completed=len(sent))
    before = len(held.order)
    sent += send(balancer, held, 25)
    placed = held.order[before:]
    assert placed.count(0) == 0, "weight 0 drains"
    assert 2 * placed.count(1) < placed.count(2)

    balancer.stop()
    with pytest.raises(Unreachable, match="does not answer"):
        plane.look()
    balancer.start()
    assert plane.look().ongoing == []


def test_endpoints_have_weights_and_drain():
    (resource,) = json.loads(assignment("c", ["h:1", "h:2"], [5, 1], [False, True]))["resources"]
    first, second = resource["endpoints"][0]["lb_endpoints"]
    assert (first["load_balancing_weight"], "health_status" in first) == (5, False)
    assert second["health_status"] == "DRAINING"
    assert second["endpoint"]["address"]["socket_address"] == {"address": "h", "port_value": 2}


def test_addresses_are_names_of_servers():
    names = ("127.0.0.1:1", "127.0.0.1:2", "127.0.0.1:3")
    settings = Settings(
        backend="envoy", servers=names, cores=(1, 1, 2), num_balancers=1, mode="heuristic"
    )
    assert settings.servers == names


def test_lines_are_read_once_whole_and_anew_in_a_file_that_was_cut(balancer, held, plane, tmp_path):
    log, server = tmp_path / "access.log", f"127.0.0.1:{held.ports[0]}"
    whole = f"DownstreamEnd r1 1.5 2000 {server} 200\n"
    log.write_text(whole + whole[:20])
    (flow,) = plane.look().completed
    assert (flow.began_s, flow.duration_s) == (1.5, 0.002)
    assert plane.look().completed == []
    with log.open("a") as file:
        file.write(whole[20:] + "nonsense\n" + f"DownstreamEnd r1 1.5 -3 {server} 200\n")
    assert len(plane.look().completed) == 1
    assert plane.lost == {"garbled": 2}
    log.write_text(whole)
    assert len(plane.look().completed) == 1
