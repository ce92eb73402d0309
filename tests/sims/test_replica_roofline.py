"""Bounds that follow from data sheets."""

import numpy as np
import pytest

from marlserve.envs.sims.replica import Replicas
from marlserve.envs.sims.replica_roofline import GPUS, MODELS, Model, Reached, engine, timing
from marlserve.envs.sims.replica_timing import pass_ns

LLAMA = MODELS["llama_3_8b"]


def test_a_token_of_llama_3_8b_keeps_128_kib():
    assert LLAMA.kv_bytes_per_token == 128 * 1024


def test_it_has_8_billion_parameters():
    """8,030,261,248 are in the published weights."""
    assert LLAMA.parameters == 8_030_261_248


@pytest.mark.parametrize("gpu", GPUS.values(), ids=GPUS)
def test_a_pass_takes_what_is_slower(gpu):
    """Reading the weights, or computing: 2 operations for each and each token."""
    row = timing(gpu, LLAMA, Reached(bandwidth=0.5, layers=0.25)).row()
    reading_s = 2 * (8_030_261_248 - 128_256 * 4_096) / gpu.bytes_per_s / 0.5
    for tokens in (1, 16, 512, 8_192):
        weights = 8_030_261_248 - 4_096 * (2 * 128_256 + 1)
        computing_s = 2 * weights * tokens / gpu.flops_per_s / 0.25
        found_s = pass_ns(row, 1.0, tokens, 0, 0, 0) / 1e9
        assert found_s == pytest.approx(max(reading_s, computing_s), rel=1e-6)


def test_attention_reads_what_is_cached_and_computes_pairs():
    gpu = GPUS["h100"]
    row = timing(gpu, LLAMA, Reached(bandwidth=0.5, attention=0.25)).row()
    alone_ns = pass_ns(row, 1.0, 0, 0, 1, 0)
    read_s = (pass_ns(row, 1.0, 0, 0, 1, 1_000_000) - alone_ns) / 1e9
    assert read_s == pytest.approx(2 * 131_072e6 / gpu.bytes_per_s, rel=1e-6)
    pairs_s = (pass_ns(row, 1.0, 0, 10**9, 1, 0) - alone_ns) / 1e9
    assert pairs_s == pytest.approx(4 * 4 * 32 * 4_096 * 1e9 / gpu.flops_per_s, rel=1e-6)


def test_an_engine_has_the_cache_that_weights_leave():
    """One request on the smallest GPU: a prompt, and 9 tokens that read all weights each."""
    small = engine(GPUS["l4"], LLAMA, block_tokens=16)
    cached_bytes = small.num_blocks * 16 * LLAMA.kv_bytes_per_token
    assert cached_bytes + LLAMA.weight_bytes == pytest.approx(0.9 * 24e9, rel=1e-3)
    replicas = Replicas(1, [small])
    replicas.reset(0, [100], [10])
    replicas.play(np.zeros((1, 1), int), np.zeros((1, 1), int))
    took_s = replicas.requests["last_token_ns"][0, 0] / 1e9
    assert took_s == pytest.approx(10 * LLAMA.read_bytes / 300e9, rel=0.02)


def test_what_cannot_be_is_named():
    with pytest.raises(ValueError, match="layers is 0"):
        Reached(layers=0.0)
    with pytest.raises(ValueError, match="a block needs more"):
        engine(GPUS["l4"], Model(80, 64, 8, 128, 8_192, 28_672, 128_256))
