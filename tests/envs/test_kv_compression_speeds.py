"""What caches hold, and what is measured of looking at prompts, on the small model."""

from marlserve.envs.kv_compression import GROUPS, Config, energy, speeds
from marlserve.envs.sims.kv_compression import language_model
from marlserve.traces.kv_profile import CONFIGS


def test_every_cache_is_told_with_what_it_holds(monkeypatch):
    monkeypatch.setattr(speeds, "TOKENS", 3)
    rows = speeds.decoding(Config(num_prompts=2), energy.meter("cpu", 10.0))
    assert [(row.cache, row.batch) for row in rows] == [(x, b) for b in (1, 8) for x in CONFIGS]
    model = language_model.load().model.config
    heads = model.num_hidden_layers * model.num_key_value_heads * model.head_dim
    for row in rows:
        entries = 255 if row.cache == "fullkv" else min(255, int(row.cache.split("_")[1]))
        assert row.mbytes == row.batch * entries * heads * 2 * 4 / 1e6
        assert row.prompt_tokens == 256
        assert row.tokens_per_s > 0
        assert row.joules_per_token > 0


def test_looking_is_told_beside_a_decoding_step():
    found = speeds.looking(Config(num_prompts=2))
    others = ("prefill", "prefill, attention summed", "decoding step")
    assert list(found) == [*others, *(x for x in GROUPS if x != "text")]
    assert all(ms > 0 for ms in found.values())
