"""The model that talks reads and answers prompts of real text."""

from dataclasses import replace

import numpy as np
import torch
from language_models import needs_smollm2

from marlserve.envs.kv_compression import PRESETS
from marlserve.envs.kv_compression.live import Live, prompts_of
from marlserve.envs.sims.kv_compression import language_model
from marlserve.envs.sims.kv_compression.compression import answer, compressed, prefill
from marlserve.envs.sims.kv_compression.methods import SnapKV
from marlserve.traces import python_texts


@needs_smollm2
def test_it_knows_a_capital_with_half_of_its_cache():
    loaded = language_model.load("smollm2")
    tokens = loaded.tokenizer("Paris is in France, and Rome is in Italy. The capital of France is")
    prompt, method = torch.tensor(tokens.input_ids), SnapKV(4, 1)
    read = prefill(loaded.model, prompt[:-1], method.query_weights(len(prompt) - 1)[None])
    half = compressed(read, [method], [0], len(prompt) // 2, 2)
    for cache in (read.cache, half):
        said = answer(loaded.model, cache, [(prompt[-1:], 1)])[0]
        assert loaded.tokenizer.decode(said) == " Paris"


@needs_smollm2
def test_a_prompt_of_real_text(tmp_path):
    file = tmp_path / "prompts.jsonl"
    few = [x for x in python_texts.samples() if len(x.context) < 3000 and x.dataset == "trec"]
    python_texts.write(file, few)
    arms = ("h2o@0.05", "snapkv_16@0.25", "ada_expected@0.25", "pyramidkv_16@0.25", "full")
    config = replace(PRESETS["smollm2"], prompts_path=str(file), arms=arms, num_prompts=3)
    prompt, live = prompts_of(config)[0], Live(config)
    assert 400 < len(prompt.tokens) <= 2048
    found = live.outcomes(0, range(5))
    assert found["entries"].tolist()[1:4] == [round(0.25 * len(prompt.tokens))] * 3
    assert found["agreement"][-1] == found["cosine"][-1] == 1.0
    assert ((found["score"] >= 0) & (found["score"] <= 1)).all()
    assert np.unique(found["agreement"]).size > 1
