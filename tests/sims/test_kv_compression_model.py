"""The small model that is shipped, how it is trained, and models by name."""

import copy
import json
import pickle
import traceback
from itertools import pairwise

import numpy as np
import pytest
import torch
from language_models import CONFIGS, SIZES, random_tokens, save
from transformers import Gemma2Config, MistralConfig, Qwen2Config
from transformers.utils import logging

from marlserve.envs.sims.kv_compression import language_model, small_llama
from marlserve.envs.sims.kv_compression.attention import NAME
from marlserve.envs.sims.kv_compression.tasks import COPY, QUERY, SPLITS, TYPES, Family


def conversation(prompt) -> tuple[torch.Tensor, list[int]]:
    """Prompt, turns and the right replies [n], and where the tokens of the replies stand."""
    parts, places, length = [prompt.tokens], [], len(prompt.tokens)
    for turn in prompt.turns:
        parts += [turn.tokens, turn.answer]
        length += len(turn.tokens)
        places += range(length, length + len(turn.answer))
        length += len(turn.answer)
    return torch.from_numpy(np.concatenate(parts)), places


@torch.inference_mode()
def exact_matches(model, family: Family, kind: str, number: int) -> float:
    """Share of fresh prompts whose replies are all right."""
    generator = np.random.default_rng((0, SPLITS.index("test")))
    prompts = [family.draw(generator, TYPES.index(kind)) for _ in range(number)]
    sequences, places = zip(*map(conversation, prompts), strict=True)
    said = model(torch.stack(sequences)).logits.argmax(-1)
    pairs = zip(sequences, said, places, strict=True)
    right = [sequence[at].equal(row[np.array(at) - 1]) for sequence, row, at in pairs]
    return float(np.mean(right))


def test_the_shipped_model():
    shipped = language_model.load()
    assert shipped.name == "small_llama"
    assert shipped.tokenizer is None
    assert not shipped.model.training
    assert shipped.model.num_parameters() == 324_224
    assert {weight.dtype for weight in shipped.model.parameters()} == {torch.float32}
    files = list(small_llama.WEIGHTS.iterdir())
    assert sum(file.stat().st_size for file in files) < 2_000_000


@pytest.mark.parametrize("family", [Family(), Family(tagged=True), Family(length=130)], ids=str)
def test_the_shipped_model_answers_fresh_prompts(family):
    model = language_model.load().model
    matches = {kind: exact_matches(model, family, kind, 10) for kind in TYPES}
    assert np.mean(list(matches.values())) >= 0.97, matches


def accuracies(**settings) -> tuple[list[float], object]:
    """Of a training after each step, and the model."""
    heard = []
    settings |= {"tokens_per_step": 1024, "report": lambda *told: heard.append(told)}
    model = small_llama.train(**settings)
    assert [step for step, _, _ in heard] == list(range(1, settings["num_steps"] + 1))
    return [accuracy for _, _, accuracy in heard], model


@pytest.mark.slow
def test_a_model_that_forgot_its_words_learns_them_again():
    """The shipped one with a new last layer: all lookups and copies are right after 80 steps."""
    model, family = copy.deepcopy(language_model.load().model), Family(length=64, num_facts=6)
    generator = torch.Generator().manual_seed(0)
    torch.nn.init.normal_(model.lm_head.weight, std=0.02, generator=generator)
    assert max(exact_matches(model, family, kind, 5) for kind in TYPES) == 0.0
    accuracy, model = accuracies(
        seed=0, num_steps=80, stages=((64, 6),), warm_up_steps=10, model=model
    )
    assert accuracy[-1] >= 0.9
    assert np.mean([exact_matches(model, family, kind, 10) for kind in TYPES]) >= 0.9


@pytest.mark.slow
def test_training_repeats_and_prompts_grow(monkeypatch):
    monkeypatch.setattr(small_llama, "_PASSED", 0.0)  # each step with a right token ends a stage

    def train(seed):
        heard = []
        model = small_llama.train(
            seed,
            num_steps=10,
            stages=((40, 6), (48, 7)),
            report=lambda *told: heard.append(told),
            tokens_per_step=512,
        )
        return heard, model.state_dict()

    first, weights = train(0)
    again, same = train(0)
    assert first == again
    assert all(weights[name].equal(same[name]) for name in weights)
    lengths = [length for _, length, _ in first]
    assert set(lengths) == {40, 48}
    assert all(a <= b for a, b in pairwise(lengths))
    assert first != train(1)[0]


def test_random_weights_leave_the_global_generator_alone():
    before = torch.get_rng_state()
    models = [small_llama.untrained(seed).state_dict() for seed in (0, 0, 1)]
    assert torch.get_rng_state().equal(before)
    name = "model.embed_tokens.weight"
    assert models[0][name].equal(models[1][name])
    assert not models[0][name].equal(models[2][name])


def test_only_what_a_prompt_determines_is_trained():
    tokens, labels = small_llama.batch(np.random.default_rng(0), 96, 12, 3000)
    assert tokens.shape == labels.shape == (25, tokens.shape[1])
    counts = labels != -100
    assert labels[counts].equal(tokens[counts])
    for row, known in zip(tokens.numpy(), counts.numpy(), strict=True):
        copies = np.flatnonzero(row == COPY)
        values = np.flatnonzero(row == QUERY) + 2
        words = np.arange(copies[1] + 1, copies[1] + 16) if len(copies) else np.array([], int)
        assert np.flatnonzero(known).tolist() == sorted([*values, *words])


def test_a_folder_is_a_name(tmp_path, capfd):
    folder = save(CONFIGS["llama"], str(tmp_path))
    capfd.readouterr()
    loaded = language_model.load(folder)
    assert language_model.load(name=folder, device="cpu") is loaded
    assert (loaded.name, loaded.tokenizer) == (folder, None)
    assert loaded.model.config._attn_implementation == NAME
    assert capfd.readouterr() == ("", "")
    assert logging.is_progress_bar_enabled()
    assert logging.set_tqdm_hook(None) is None, "progress bars are as they were"


def test_the_same_model_twice_is_one():
    assert language_model.load() is language_model.load("small_llama", "cpu")


@pytest.mark.parametrize(
    "config",
    [
        MistralConfig(**SIZES, sliding_window=16),
        Qwen2Config(**SIZES, use_sliding_window=True, sliding_window=16, max_window_layers=2),
        Gemma2Config(**SIZES, head_dim=8),
    ],
    ids=lambda config: config.model_type,
)
def test_sliding_windows_are_refused(config, tmp_path):
    with pytest.raises(
        ValueError, match="DynamicSlidingWindowLayer.*whole prompt, without a sliding"
    ):
        language_model.load(save(config, str(tmp_path)))


def test_models_that_cannot_be_had(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    for name in (str(tmp_path), "no-such/model", "./no/such/folder", ""):
        with pytest.raises(
            ValueError, match=f"model '{name}' cannot be loaded; allowed is 'small_"
        ):
            language_model.load(name)


class RunsCode:
    def __reduce__(self):
        return exec, ("raise SystemExit",)


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("pytorch_model.bin", b"no weights"),
        ("pytorch_model.bin", b""),
        ("pytorch_model.bin", pickle.dumps(RunsCode())),
        ("pytorch_model.bin", {"weight": RunsCode()}),
        ("pytorch_model.bin", {"model.norm.weight": torch.ones(3)}),
        ("pytorch_model.bin", {}),
        ("model.safetensors", b"no weights"),
    ],
)
def test_damaged_weights_are_our_error(file, content, tmp_path):
    save(CONFIGS["llama"], tmp_path)
    (tmp_path / "model.safetensors").unlink()
    if isinstance(content, bytes):
        (tmp_path / file).write_bytes(content)
    else:
        torch.save(content, tmp_path / file)
    with pytest.raises(ValueError, match="cannot be loaded: .*weights.*; allowed is what") as error:
        language_model.load(str(tmp_path))
    assert "weights_only" not in "".join(traceback.format_exception(error.value))


def test_code_that_comes_with_a_model_is_not_run(tmp_path):
    save(CONFIGS["llama"], tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    config |= {"model_type": "new", "auto_map": {"AutoConfig": "code.C", "AutoModel": "code.M"}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "code.py").write_text("raise SystemExit")
    with pytest.raises(ValueError, match="it runs code that comes with it; allowed is"):
        language_model.load(str(tmp_path))


@pytest.mark.parametrize("device", ["gpu", "cuda:99", "meta", ""])
def test_devices_that_cannot_be_used(device):
    with pytest.raises(ValueError, match=f"device '{device}' cannot be used"):
        language_model.load("small_llama", device)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_reads_as_the_cpu_does():
    tokens = random_tokens(language_model.load().model, 1, 64)
    with torch.inference_mode():
        expected = language_model.load().model(tokens).logits
        found = language_model.load("small_llama", "cuda").model(tokens.cuda()).logits.cpu()
    torch.testing.assert_close(found, expected, atol=1e-3, rtol=1e-3)
