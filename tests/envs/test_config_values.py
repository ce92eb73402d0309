"""Any value in any field of any Config: a problem that plays, or an error that names the field."""

from dataclasses import fields, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from playing import sampled

from marlserve import envs
from marlserve.envs.contextual_bandit import Config as BanditConfig
from marlserve.envs.job_scheduling import Config as JobsConfig
from marlserve.envs.kv_cache import Config as KVCacheConfig
from marlserve.envs.kv_compression import Config as KVCompressionConfig
from marlserve.envs.load_balance import Config as LoadBalanceConfig
from marlserve.envs.replica_routing import Config as RoutingConfig

# Small, so that what is good plays at once.
SMALL = {
    "contextual_bandit": BanditConfig(),
    "job_scheduling": JobsConfig(num_jobs=20, max_visible=8),
    "kv_cache": KVCacheConfig(num_servers=5, weeks=2, episode_hours=1.0),
    "kv_compression": KVCompressionConfig(num_prompts=5, prompt_tokens=120, arms=("h2o", "full")),
    "load_balance": LoadBalanceConfig(cores=(1, 2), episode_s=1.0, warm_up_s=1.0),
    "replica_routing": RoutingConfig(
        speeds=(1.0, 2.0), num_blocks=1_000, max_num_seqs=16, episode_s=5.0, warm_up_s=5.0
    ),
}
ODD = [float("inf"), -float("inf"), float("nan"), 1e-300, 1e300, 5e-324, -0.0, 1.5, 2**70, 10**9]
scalars = st.one_of(
    *(st.sampled_from(ODD), st.none(), st.booleans(), st.text(max_size=3)),
    *(st.integers(-3, 300), st.floats(), st.floats(0.0, 100.0)),
)
values = st.one_of(scalars, st.lists(scalars, max_size=3), st.lists(scalars, max_size=3).map(tuple))


def name_of_a_thing(name: str, field: str, value: object) -> bool:
    """Whether any text may be right: a file or a model, which are looked for later."""
    return isinstance(value, str) and (
        field.endswith("_path") or field in ("model_name", "device", "text_encoder", "start_time")
    )


def plays(name: str, config) -> None:
    problem = envs.module(name).Problem(config)
    assert np.isfinite(problem.reset([1])).all()
    _, rewards, _, _ = problem.step(sampled(problem, np.random.default_rng(0)))
    assert np.isfinite(rewards).all()
    assert all(np.isfinite(value).all() for value in problem.metrics().values())


@pytest.mark.slow
@pytest.mark.parametrize("name", SMALL)
@settings(max_examples=400)
@given(data=st.data())
def test_any_value_plays_or_is_named(name, data):
    field = data.draw(st.sampled_from([field.name for field in fields(SMALL[name])]))
    value, message = data.draw(values), field
    try:
        config = replace(SMALL[name], **{field: value})
        hash(config)
        if not name_of_a_thing(name, field, value) and not costly(name, field, value):
            plays(name, config)
    except ValueError as error:
        message = str(error)
    assert field in message


def costly(name: str, field: str, value: object) -> bool:
    """Good, and it would take minutes and gigabytes."""
    large = {"num_servers", "max_waiting", "weeks", "dim", "num_prompts", "prompt_tokens"}
    return field in large and isinstance(value, int) and value > 300


def test_every_problem_is_here():
    assert set(SMALL) == set(envs.names())


@pytest.mark.parametrize("name", SMALL)
def test_the_small_one_plays(name):
    plays(name, SMALL[name])
