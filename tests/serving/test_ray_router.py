"""Requests to Ray Serve's replicas go where a policy, or a rule, says."""

import asyncio
import time

import pytest
from routing_policies import routing_policy

from marlserve.policies import session
from marlserve.serving.policy_store import PolicyStore

pytest.importorskip("ray.serve", reason='it needs pip install "marlserve[ray_serve]"')

from ray import serve
from ray.serve.config import RequestRouterConfig

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
ROUTER = "marlserve.serving.ray_router:PolicyRequestRouter"


class Model:
    """Says who answers, and how much of it is under way there."""

    def __init__(self):
        self.running = 0

    async def __call__(self, body: dict) -> str:
        self.running += 1
        await asyncio.sleep(body.get("takes_s", 0.0))
        self.running -= 1
        return serve.get_replica_context().replica_id.unique_id


@pytest.fixture(scope="module")
def ray_serve():
    session.start(num_cpus=6)
    serve.start(proxy_location="Disabled")
    yield
    serve.shutdown()
    session.stop()


def deployed(name: str, **given):
    router = RequestRouterConfig(request_router_class=ROUTER, request_router_kwargs=given)
    options = {"num_replicas": 3, "request_router_config": router, "max_ongoing_requests": 50}
    actor = {"ray_actor_options": {"num_cpus": 0.1}}
    app = serve.deployment(Model).options(name=name, **options, **actor).bind()
    return serve.run(app, name=name, route_prefix=None)


def asked(handle, prompt: list[int], takes_s: float = 0.0):
    return handle.remote({"prompt": prompt, "takes_s": takes_s})


def test_fewest_requests(ray_serve):
    handle, known = deployed("fewest"), set[str]()
    while len(known) < 3:  # until the router knows all replicas
        known |= {each.result() for each in [asked(handle, [i], takes_s=0.2) for i in range(6)]}
    time.sleep(1.0)  # the router hears of an end some time after the result is there
    under_way = [asked(handle, [i], takes_s=3.0) for i in range(9)]
    by_replica = [each.result() for each in under_way]
    assert sorted(by_replica.count(name) for name in {*by_replica}) == [3, 3, 3]


def test_prompts_that_begin_alike_meet(ray_serve):
    handle = deployed("prefixes", heuristic="prefix_affinity")
    prompts = [list(range(1000 * i, 1000 * i + 200)) for i in range(6)]
    under_way = [asked(handle, prompt, takes_s=2.0) for prompt in prompts]
    homes = [each.result() for each in under_way]
    assert len({*homes}) == 3
    time.sleep(1.0)  # as above: who is taken to be busy is passed over
    assert [asked(handle, [*prompt, 7]).result() for prompt in prompts] == homes


def test_a_policy_decides_and_the_rule_where_it_cannot(ray_serve, tmp_path):
    store = PolicyStore(tmp_path)
    store.publish(routing_policy((0.0, 1.0, 0.5)))
    handle = deployed("policy", models=str(tmp_path))
    asked(handle, [1]).result()
    for _ in range(100):  # until the policy is read
        under_way = [asked(handle, [i], takes_s=0.2) for i in range(6)]
        if len({each.result() for each in under_way}) == 1:
            break
    assert len({asked(handle, [i]).result() for i in range(10)}) == 1
    store.publish(routing_policy((0.0, 1.0)))  # of two replicas
    for _ in range(100):
        under_way = [asked(handle, [i], takes_s=0.2) for i in range(6)]
        if len({each.result() for each in under_way}) == 3:
            break
    else:
        pytest.fail("the policy goes on")
