"""Who is let in, and what is let through: tokens, certificates, rates, and bytes that are none."""

import shutil
import subprocess

import grpc
import numpy as np
import pytest
from external_cases import agent_of, contract, fronted, inlet_of, play, policy, steps, until

from marlserve.serving.trainer.front import FrontSettings
from marlserve.serving.trainer.inlet import Inlet
from marlserve.serving.trainer.metrics import text
from marlserve.serving.wire import channels, trainer_pb2_grpc
from marlserve.serving.wire import trainer_pb2 as pb

PUSH = "/marlserve.trainer.v1.Trainer/Push"


def said(call, *arguments, **more) -> grpc.StatusCode:
    """How a call is refused."""
    with pytest.raises(grpc.RpcError) as error:
        call(*arguments, timeout=30, **more)
    return error.value.code()


@pytest.fixture
def stub(front):
    with channels.channel(front.address) as channel:
        yield trainer_pb2_grpc.TrainerStub(channel)


def hello(**changes) -> pb.HelloRequest:
    given = {"protocol": 1, "client_id": "c", "session": "s", "policy": "policy"}
    return pb.HelloRequest(**given | changes)


def test_without_the_token_there_is_nothing():
    with fronted(token="secret") as front:
        inlet_of(front).publish(policy(), 0.0)
        with channels.channel(front.address) as channel:
            stub = trainer_pb2_grpc.TrainerStub(channel)
            for token in ("", "secre", "secret2", "SECRET"):
                shown = {"metadata": tuple(channels.bearing(token))}
                calls = (
                    (stub.Hello, hello()),
                    (stub.Push, pb.PushRequest(client_id="c", session="s")),
                    (lambda *a, **k: next(stub.Policies(*a, **k)), pb.PoliciesRequest()),
                )
                for call, request in calls:
                    assert said(call, request, **shown) == grpc.StatusCode.UNAUTHENTICATED
            assert front.clients.refused_calls == 12
            assert front.clients.sessions == {}
        with agent_of(front, token="secret") as agent:
            assert agent.wait_for_policy(60)
            play(agent, 1)
            until(lambda: agent.link.sent == 5)


def test_learners_show_a_secret(front):
    given = front.learner_config
    with pytest.raises(ConnectionError, match="secret is missing or wrong"):
        Inlet(given["address"], "guessed", contract())
    with channels.channel(front.address) as channel:  # that is the clients' port
        learning = trainer_pb2_grpc.LearningStub(channel)
        shown = tuple(channels.bearing(given["secret"]))
        refused = said(learning.Take, pb.TakeRequest(), metadata=shown)
        assert refused == grpc.StatusCode.UNIMPLEMENTED


def test_beyond_this_machine_it_takes_a_token():
    with pytest.raises(ValueError, match="beyond .* a token must be set"):
        FrontSettings(address="0.0.0.0:50051")
    FrontSettings(address="0.0.0.0:50051", token="secret")
    with pytest.raises(ValueError, match="allowed is host:port"):
        FrontSettings(address="localhost")


def test_an_address_that_is_taken_is_said_so(front):
    with pytest.raises(ValueError, match="cannot be listened on"), fronted(address=front.address):
        pass


@pytest.mark.skipif(shutil.which("openssl") is None, reason="there is no openssl to make one")
def test_with_a_certificate_nobody_listens_in(tmp_path):
    key, certificate, other = (str(tmp_path / name) for name in ("key", "certificate", "other"))
    for name in (other, certificate):
        command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
        command += ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
        subprocess.run([*command, "-keyout", key, "-out", name], check=True, capture_output=True)
    with fronted(address="localhost:0", certificate=certificate, key=key) as front:
        inlet_of(front).publish(policy(), 0.0)
        with agent_of(front, ca=certificate) as agent:
            assert agent.wait_for_policy(60)
            play(agent, 1)
            until(lambda: agent.link.sent == 5)
        for ca in ("", other):
            agent = agent_of(front, ca=ca)
            until(lambda agent=agent: agent.link.trouble.startswith("UNAVAILABLE"))
            assert agent.link.newest is None
            agent.close(0.1)


def test_who_speaks_of_other_things_is_told_so(front, stub):
    assert said(stub.Hello, hello()) == grpc.StatusCode.NOT_FOUND
    inlet_of(front)
    stub.Hello(hello())
    wrong = grpc.StatusCode.INVALID_ARGUMENT
    for changes in ({"protocol": 2}, {"client_id": ""}, {"session": "s" * 201}):
        assert said(stub.Hello, hello(**changes)) == wrong
    assert said(stub.Hello, hello(spaces_hash="0" * 64)) == wrong
    stub.Hello(hello(spaces_hash=contract().spaces_hash))
    unknown = pb.PushRequest(client_id="c", session="another")
    assert said(stub.Push, unknown) == grpc.StatusCode.FAILED_PRECONDITION


def test_bytes_that_are_no_message_leave_it_as_it_was(front):
    inlet_of(front).publish(policy(), 0.0)
    rng = np.random.default_rng(0)
    with channels.channel(front.address) as channel:
        push = channel.unary_unary(PUSH)  # as bytes
        for size in rng.integers(1, 2_000, size=200):
            said(push, rng.bytes(int(size)))
        too_large = bytes(channels.MOST_BYTES + 1)
        assert said(push, too_large) == grpc.StatusCode.RESOURCE_EXHAUSTED
    with agent_of(front) as agent:
        assert agent.wait_for_policy(60)
        play(agent, 1)
        until(lambda: agent.link.sent == 5)


def test_who_is_too_fast_loses_what_is_too_much():
    with fronted(most_steps_per_s=10.0) as front:
        inlet_of(front).publish(policy(), 0.0)
        with agent_of(front) as agent:
            assert agent.wait_for_policy(60)
            play(agent, 20)
        dropped = front.intakes["policy"].dropped
        assert 0 < dropped["too_fast"] == agent.outbox.lost["refused"] < 100


def test_metrics_tell_what_came_and_what_was_lost(front):
    inlet = inlet_of(front)
    inlet.publish(policy(), 0.0)
    with agent_of(front) as agent:
        assert agent.wait_for_policy(60)
        play(agent, 1)
        until(lambda: agent.link.sent == 5)
        agent.link._push([steps(run="another", version=7).message(9)])
        inlet.take(1, 60.0)
    lines = text(front).splitlines()
    for line in (
        'marlserve_trainer_steps_received_total{policy="policy"} 8.0',
        'marlserve_trainer_steps_taken_total{policy="policy"} 5.0',
        'marlserve_trainer_steps_behind_total{policy="policy",versions="0"} 5.0',
        'marlserve_trainer_queue_steps{policy="policy"} 3.0',
        'marlserve_trainer_version{policy="policy"} 1.0',
        "marlserve_trainer_clients 1.0",
    ):
        assert line in lines
    assert any(line.startswith("marlserve_trainer_decision_p99_seconds{") for line in lines)
    numbers = {
        name: float(value)
        for name, value in (line.rsplit(" ", 1) for line in lines if line[0] != "#")
    }
    assert numbers['marlserve_trainer_cpu_seconds_total{who="front"}'] > 0.1
    assert numbers['marlserve_trainer_resident_bytes{who="front"}'] > 1e7
    assert numbers["marlserve_trainer_machine_available_bytes"] > 1e6
