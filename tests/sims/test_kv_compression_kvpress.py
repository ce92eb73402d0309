"""Our methods keep what those of NVIDIA's library kvpress keep, of the same prompt and model.

`make test-llm` installs kvpress into an environment of its own, build/kvpress, and sets KVPRESS to
its interpreter. Its SnapKV pools by the mean and leaves the window out, ours pools by the maximum,
so that they are compared without pooling; both keep all of the window here. Its PyramidKV counts
the window as a part of a layer's share, ours beside it, as in the method's own code; its
ObservedAttention divides by the number of queries that can see a key, which H2O does not.
"""

import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from language_models import CONFIGS, needs_smollm2, random_tokens, save

from marlserve.envs.sims.kv_compression import gguf_files, language_model, methods
from marlserve.envs.sims.kv_compression.compression import kept, prefill

PYTHON, SCRIPT = (
    os.environ.get("KVPRESS", ""),
    Path(__file__).parents[1] / "support/kvpress_kept.py",
)
RECENT = {"window_4": 4, "snapkv_8_1": 8, "tova": 1, "ada_snapkv_8_1": 8}  # that always stay there
RATIO = 0.75
pytestmark = [
    pytest.mark.slow,
    pytest.mark.llm,
    pytest.mark.skipif(not PYTHON, reason="needs kvpress: make test-llm"),
]


@torch.inference_mode()
def differing(folder: str, tokens: torch.Tensor, tmp_path: Path) -> dict[str, float]:
    """Share of the kept entries that are others, for every method."""
    np.save(tmp_path / "tokens.npy", tokens.numpy())
    files = [str(tmp_path / name) for name in ("tokens.npy", "out.npz")]
    subprocess.run([PYTHON, SCRIPT, folder, *files, str(RATIO)], check=True)
    of, number, found = language_model.load(folder).model, len(tokens), {}
    with np.load(tmp_path / "out.npz") as theirs:
        for name, stays in theirs.items():
            method = methods.parse(name)
            read = prefill(of, tokens, method.query_weights(number)[None], method.asks_for_queries)
            indices = kept(method, read, 0, int(number * (1 - RATIO)), RECENT.get(name, 0))
            ours = torch.zeros(*stays.shape[:2], number + 1, dtype=torch.bool)
            ours.scatter_(2, indices.masked_fill(indices < 0, number), True)
            ours = ours[..., :number].numpy()
            assert ours.sum() == stays.sum() == stays[..., 0].size * int(number * (1 - RATIO))
            found[name] = float((ours & ~stays).sum() / ours.sum())
    return found


def test_of_a_random_model(tmp_path):
    folder = save(CONFIGS["llama"], str(tmp_path / "llama"))
    found = differing(folder, random_tokens(language_model.load(folder).model, 120), tmp_path)
    assert len(found) == 8
    assert found == dict.fromkeys(found, 0.0)


@needs_smollm2
def test_of_the_model_that_talks(tmp_path):
    """Rounding decides between entries of nearly the same rank."""
    folder = str(gguf_files.converted(gguf_files.smollm2()))
    text = (Path(__file__).parents[2] / "LICENSE").read_text()[1000:2600]
    tokens = torch.tensor(language_model.load(folder).tokenizer(text).input_ids)
    found = differing(folder, tokens, tmp_path)
    assert max(found.values()) <= 0.001, found
