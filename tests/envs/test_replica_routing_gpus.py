"""Replica routing on named GPUs: what they take, and what their caches hold."""

from dataclasses import replace

import numpy as np
import pytest
from routing_episodes import SHORT, played

from marlserve.envs import replica_routing
from marlserve.envs.replica_routing import Config, Measured
from marlserve.envs.replica_routing.observation import estimates
from marlserve.envs.sims.replica_arrays import REJECTED
from marlserve.envs.sims.replica_roofline import GPUS, MEASURED
from marlserve.envs.sims.replica_timing import pass_ns

FLEET = Config(**SHORT, gpus=("h100", "a100", "a100", "l4"), load=(0.2, 0.2))


def test_replicas_on_gpus_take_what_their_data_sheets_say():
    """Alone on each: a long prompt as long as computing it, and further tokens as reading takes."""
    problem = replica_routing.Problem(FLEET)
    problem.reset([0])
    tokens = 8_000
    for gpu, one, speed in zip(FLEET.gpus, FLEET.engines, problem.speeds[0], strict=True):
        row = one.timing.row()
        prompt_ns = pass_ns(row, 1.0 / speed, tokens, 0, 0, 0)
        computed_s = 2 * 6.98e9 * tokens / (MEASURED.layers * GPUS[gpu].flops_per_s)
        assert prompt_ns / 1e9 == pytest.approx(computed_s, rel=1e-3)
        read_s = 15.01e9 / (MEASURED.bandwidth * GPUS[gpu].bytes_per_s)
        assert pass_ns(row, 1.0 / speed, 0, 0, 1, 0) / 1e9 == pytest.approx(read_s, rel=1e-3)
    blocks = [one.num_blocks for one in FLEET.engines]
    assert blocks[0] == blocks[1] > 8 * blocks[3]
    np.testing.assert_allclose(problem.state()[0, 2:20:5], 0.0, atol=0.2)  # of the cache in use


def test_gateways_know_what_a_gpu_takes():
    """What they estimate of an empty replica is, for a long prompt, about what its engine takes."""
    nothing, tokens = np.zeros(4), 8_000
    seen = Measured(*[nothing] * len(Measured._fields))._replace(
        speed=np.array(FLEET.rates), request_prompt_tokens=np.array(tokens)
    )
    about = estimates(seen, FLEET)
    for i, one in enumerate(FLEET.engines):
        taken_s = pass_ns(one.timing.row(), 1.0 / FLEET.rates[i], tokens, 0, 0, 0) / 1e9
        assert about.wait_s[i] == pytest.approx(taken_s, rel=0.1)
        next_s = pass_ns(one.timing.row(), 1.0 / FLEET.rates[i], 0, 0, 1, tokens) / 1e9
        assert about.token_s[i] == pytest.approx(next_s, rel=1e-3)


def test_gpus_are_named_for_each_replica():
    with pytest.raises(ValueError, match=r"gpus is \('h100', 'b200'.*'a100', 'h100', 'l4'"):
        Config(gpus=("h100", "b200", "l4", "l4"))
    with pytest.raises(ValueError, match="for each of the 4 speeds"):
        Config(gpus=("h100",))
    with pytest.raises(ValueError, match="told_speeds is False"):
        replace(FLEET, told_speeds=False)


def test_on_gpus_the_marginal_cost_is_ahead_of_counting_requests_over_speeds():
    by_cost, by_count = (
        played(FLEET, rule, num_envs=4)[0].metrics() for rule in ("marginal_cost", "least_requests")
    )
    assert by_cost["completed"].sum() > 0
    assert by_cost["mean_e2e_s"].mean() < by_count["mean_e2e_s"].mean()


def test_a_prompt_goes_where_the_cache_can_hold_it():
    """To none of the smallest caches, whose rule would have it there by turns."""
    problem, _ = played(FLEET, "round_robin", num_envs=4)
    requests, warm_ns = problem.gateways.replicas.requests, problem.gateways.copies["warm_ns"]
    sent = (requests["status"] > 0) & (requests["arrival_ns"] >= warm_ns[:, None])
    least, *_, most = sorted(one.num_blocks * one.block_tokens for one in FLEET.engines)
    long = sent & (requests["prompt_tokens"] > least)
    assert long.any()
    assert (requests["prompt_tokens"][long] < most).all()
    assert set(requests["replica"][long]) == {0, 1, 2}
    assert not (requests["status"][sent] == REJECTED).any()
