"""What tests of several services share. A fixture imports what it needs, so that others do not."""

import pytest


@pytest.fixture
def held():
    """Three servers that answer when they are told to."""
    from held_servers import HeldServers

    servers = HeldServers(3)
    yield servers
    servers.close()


@pytest.fixture
def front():
    """Of a trainer."""
    from external_cases import fronted

    with fronted() as front:
        yield front


@pytest.fixture
def inlet(front):
    """What a learner has at it, with a policy published."""
    from external_cases import inlet_of, policy

    inlet = inlet_of(front)
    inlet.publish(policy(), 0.0)
    yield inlet
    inlet.close()


@pytest.fixture
def agent(front, inlet):
    """A client that has the policy."""
    from external_cases import agent_of

    with agent_of(front) as agent:
        assert agent.wait_for_policy(60)
        yield agent


@pytest.fixture
def client(front, inlet, tmp_path):
    """One in C++ that has the policy."""
    from cpp_programs import ready

    with ready(tmp_path, front) as client:
        yield client
