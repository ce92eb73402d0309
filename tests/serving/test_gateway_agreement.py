"""What a gateway in service knows is what a simulated one knows: both hear the same log."""

from dataclasses import replace

import numpy as np
import pytest

from marlserve.envs.replica_routing import GATEWAYS, TIGHT, Problem, observe
from marlserve.envs.sims import replica_arrays as has
from marlserve.serving.decisions.heuristics import Heuristic
from marlserve.serving.gateway.fleet import Fleet
from marlserve.serving.gateway.prompts import Prompt
from marlserve.serving.gateway.replica import Flight

TIGHT_FOR_ONE = replace(TIGHT, num_blocks=512, warm_up_s=0.0, episode_s=10.0)
ALONE = replace(GATEWAYS, num_gateways=1, warm_up_s=0.0, episode_s=60.0)  # on unequal replicas
ANYWHERE = np.ones(4, bool)


class Hearing:
    """A fleet that hears what the simulated replicas do, and when."""

    def __init__(self, problem: Problem):
        config, self.gateways = problem.config, problem.gateways
        self.chain_tokens = problem.requests[0].block_tokens
        urls = tuple(f"http://127.0.0.1:{port}" for port in range(1, config.num_replicas + 1))
        cache_tokens = float(config.num_blocks * config.block_tokens)
        self.fleet = Fleet(urls, config.speeds, cache_tokens)
        self.flights: dict[int, tuple[Flight, int]] = {}  # and tokens so far

    @property
    def requests(self) -> np.ndarray:
        return self.gateways.replicas.requests[0]

    def prompt(self, q: int) -> tuple[Prompt, str]:
        request, nodes = self.requests[q], self.gateways.replicas._nodes[0]
        start = request["chain_start"]
        pieces = tuple(nodes[start : start + request["chain_length"]].tolist())
        session = int(self.gateways.asked[0, q]["session"])
        prompt = Prompt(int(request["prompt_tokens"]), pieces, self.chain_tokens)
        return prompt, "" if session < 0 else str(session)

    def hear(self) -> None:
        """What came since the last decision, in the order of its times."""
        self.gateways.replicas.settle()
        events = []
        for q in self.flights:
            first_ns, last_ns = (
                self.requests[q]["first_token_ns"],
                self.requests[q]["last_token_ns"],
            )
            if first_ns != has.NONE and self.flights[q][0].first_s is None:
                events.append((first_ns, 0, q))
            if self.requests[q]["status"] == has.COMPLETED:
                events.append((last_ns, 1, q))
        for at_ns, is_end, q in sorted(events):
            flight, _ = self.flights[q]
            if is_end:
                flight.end(at_ns / 1e9, int(self.requests[q]["output_tokens"]))
                del self.flights[q]
            else:
                flight.first(at_ns / 1e9)
        for q, (flight, before) in self.flights.items():
            so_far = int(self.requests[q]["generated"])
            flight.generated(so_far - before)
            self.flights[q] = flight, so_far
        scraped = self.gateways.scraped[0]
        for replica, told in zip(self.fleet.replicas, scraped, strict=True):
            replica.running, replica.waiting, replica.kv_usage = told.item()[:3]
            replica.scraped_s = self.gateways.copies["scraped_ns"][0] / 1e9

    def send(self, q: int, action: int, matched_tokens: int) -> None:
        prompt, session = self.prompt(q)
        now_s = self.gateways.asked[0, q]["arrival_ns"] / 1e9
        replica = self.fleet.replicas[action]
        flight = self.fleet.sent(prompt, session, replica, matched_tokens, now_s)
        self.flights[q] = flight, 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("config", "rule"), [(TIGHT_FOR_ONE, "prefix_affinity"), (ALONE, "least_requests")]
)
def test_both_see_the_same(config, rule):
    problem, heuristic = Problem(config), Heuristic(rule)
    problem.reset([5])
    hearing, matches, homes, decided = Hearing(problem), 0.0, 0, 0
    while (q := int(problem.gateways.present()[0, 0])) >= 0:
        hearing.hear()
        prompt, session = hearing.prompt(q)
        now_s = problem.gateways.copies["clock_ns"][0] / 1e9
        seen = hearing.fleet.measured(prompt, session, now_s)
        for name, value in problem.measured()._asdict().items():
            np.testing.assert_allclose(
                getattr(seen, name), value[0, 0], rtol=1e-9, atol=1e-9, err_msg=name
            )
        np.testing.assert_allclose(
            observe(seen, problem.config), problem.observations()[0, 0], rtol=1e-6
        )
        action = int(heuristic.probabilities(seen, ANYWHERE).argmax())
        hearing.send(q, action, int(seen.matched_tokens[action]))
        matches += float(seen.matched_tokens.sum())
        homes, decided = homes + int(seen.home >= 0), decided + 1
        problem.step(np.array([[action]]))
    assert decided > 100
    assert matches > 0
    assert homes > 0
