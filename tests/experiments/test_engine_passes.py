"""Passes of a decoder that another implementation computes too, their times, and their bounds."""

import pandas as pd
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from marlserve.envs.sims.replica_roofline import GPUS, MODELS, Model, Reached, timing
from marlserve.experiments.studies.replica_routing import bounding, calibration, measuring
from marlserve.experiments.studies.replica_routing.decoder import Decoder, Pass

TINY = Model(2, heads=4, kv_heads=2, head_size=8, hidden_size=32, gate_size=48, vocabulary=50)


@pytest.fixture(scope="module")
def decoder():
    torch.manual_seed(0)
    return Decoder(TINY, 64, device="cpu", dtype=torch.float32)


@pytest.fixture(scope="module")
def llama(decoder):
    """The same weights in the model of the library transformers."""
    config = LlamaConfig(
        vocab_size=TINY.vocabulary,
        hidden_size=TINY.hidden_size,
        intermediate_size=TINY.gate_size,
        num_hidden_layers=TINY.layers,
        num_attention_heads=TINY.heads,
        num_key_value_heads=TINY.kv_heads,
        head_dim=TINY.head_size,
        rms_norm_eps=1e-5,
        rope_parameters={"rope_type": "default", "rope_theta": 500_000.0},
        tie_word_embeddings=False,
    )
    model = LlamaForCausalLM(config).eval()
    kept = {"model.embed_tokens.weight": decoder.embedding, "lm_head.weight": decoder.head}
    sizes = [TINY.head_size * n for n in (TINY.heads, TINY.kv_heads, TINY.kv_heads)]
    for i, layer in enumerate(decoder.layers):
        q, k, v = layer.qkv.split(sizes)
        gate, up = layer.gates.chunk(2)
        attention, gated = f"model.layers.{i}.self_attn", f"model.layers.{i}.mlp"
        kept |= {
            f"{attention}.{x}_proj.weight": y
            for x, y in zip("qkvo", (q, k, v, layer.out), strict=True)
        }
        kept |= {f"{gated}.gate_proj.weight": gate, f"{gated}.up_proj.weight": up}
        kept |= {f"{gated}.down_proj.weight": layer.down}
    missing, unexpected = model.load_state_dict(kept, strict=False)
    assert all("norm" in name for name in missing)  # which are 1 in both
    assert not unexpected
    return model


def logits(llama, tokens):
    """After the last one."""
    with torch.no_grad():
        return llama(tokens[None]).logits[0, -1]


def test_a_model_has_as_many_parameters(llama):
    assert sum(x.numel() for x in llama.parameters()) == TINY.parameters


def test_a_prompt_in_two_passes_gives_what_transformers_does(decoder, llama):
    tokens = torch.randint(TINY.vocabulary, (12,))
    for one in (Pass(new=7), Pass(new=5, before=7)):
        to = one.before + one.new
        _, positions = decoder.inputs(one)
        found = decoder(one, tokens[one.before : to], positions)
        torch.testing.assert_close(found, logits(llama, tokens[:to])[None], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("beside", [0, 6])
def test_sequences_that_decode_do_so_beside_a_prompt(decoder, llama, beside):
    prompt, others = (torch.randint(TINY.vocabulary, size) for size in ((beside,), (2, 5)))
    for i in (1, 0):  # what is cached of them lies behind the prompt's
        _, positions = decoder.inputs(Pass(new=4))
        decoder(Pass(new=4), others[i, :4], positions)
        for layer in decoder.layers:
            layer.cache[:, beside + 5 * i :][:, :4] = layer.cache[:, :4].clone()
            layer.cache[:, beside + 5 * i + 4] = torch.nan  # must be written before it is read
    one = Pass(new=beside, sequences=2, context=5)
    _, positions = decoder.inputs(one)
    found = decoder(one, torch.cat((prompt, others[:, -1])), positions)
    wanted = [logits(llama, x) for x in (prompt, *others) if len(x)]
    torch.testing.assert_close(found, torch.stack(wanted), rtol=1e-4, atol=1e-5)


def test_what_is_measured_can_be_calibrated(decoder, tmp_path):
    passes = [Pass(sequences=4, context=8), Pass(new=16, before=8), Pass(8, 0, 2, 8)]
    rows = pd.DataFrame(measuring.measured(decoder, passes, seconds=0.0))
    rows.to_csv(tmp_path / "passes.csv", index=False)
    read = calibration.read(tmp_path / "passes.csv")
    assert read["prefill_att"].tolist() == [0, 16 * (8 + 8), 8 * 4]
    assert read["decode_ctx"].tolist() == [32, 0, 16]
    assert (read["least_ms"] <= read["wall_ms"]).all()


def test_a_roofline_finds_the_shares_that_were_reached():
    """Of passes that take exactly so long; those of its two halves are then predicted."""
    gpu, model = GPUS["l4"], MODELS["llama_3_8b"]
    names = ("prefill_tokens", "prefill_att", "decode_seqs", "decode_ctx")
    passes = pd.DataFrame(
        [(p.new, p.attention, p.sequences, p.sequences * p.context) for p in measuring.PASSES],
        columns=names,
    )
    reached = Reached(0.8, 0.6, 0.3)
    passes["wall_ms"] = calibration.lengths_ms(timing(gpu, model, reached), passes)
    found = bounding.fitted(passes, gpu, model)
    assert vars(found) == pytest.approx(vars(reached), abs=0.005)
    *_, of_all = bounding.compared(passes, gpu, model)
    assert of_all["number"] == str(len(passes))
    off = bounding.held_out(passes, lambda half: timing(gpu, model, reached))
    assert off.max() < 1e-9


def test_a_machine_without_a_gpu_measures_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match="finds no GPU"):
        measuring.Measure(out=tmp_path / "passes.csv").run(None)
    (tmp_path / "passes.csv").touch()
    with pytest.raises(ValueError, match="is there already"):
        measuring.Measure(out=tmp_path / "passes.csv").run(None)
