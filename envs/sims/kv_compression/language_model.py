"""Language models by name: the small one that is shipped, one that talks, a folder, a GGUF file, or
the Hugging Face hub.

No code that comes with a model is run. Weights are read as safetensors where there are such; those
of an old pytorch_model.bin are unpickled by torch, which takes nothing but tensors.
"""

import pickle
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import torch
from safetensors import SafetensorError
from transformers import AutoModelForCausalLM, AutoTokenizer, DynamicCache, PreTrainedModel
from transformers.cache_utils import DynamicLayer
from transformers.tokenization_utils_base import PreTrainedTokenizerBase
from transformers.utils.logging import set_tqdm_hook

from marlserve.envs.sims.kv_compression import gguf_files, small_llama
from marlserve.envs.sims.kv_compression.attention import NAME

SMALL_LLAMA = "small_llama"
_ALLOWED = (
    f"allowed is {SMALL_LLAMA!r}, {gguf_files.SMOLLM2!r}, a folder that save_pretrained() wrote, a "
    f"{gguf_files.SUFFIX} file, or the name of a causal language model on the Hugging Face hub, if "
    "the hub can be reached or has been before"
)
# What reading weights raises that are cut off, of other names or shapes, or no weights at all.
_BAD_WEIGHTS = (SafetensorError, pickle.UnpicklingError, EOFError, RuntimeError, TypeError)


@dataclass(frozen=True)
class LanguageModel:
    """A model that is ready to read prompts.

    Attributes:
        name: by which it was loaded.
        model: in eval mode, with attention that tells its scores.
        tokenizer: None if the folder has none, like that of the small model, whose prompts are
            made of token ids.
    """

    name: str
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase | None


def load(name: str = SMALL_LLAMA, device: str = "cpu") -> LanguageModel:
    """A model by name; asked for again, it is the same object, if it is one of the last two.

    On a GPU the weights are in the type that they were saved in, on a CPU in float32.

    Raises:
        ValueError: for an unknown device; for a model that cannot be had, or whose layers do not
            all attend to the whole prompt.
    """
    return _load(str(name), str(device))


@lru_cache(maxsize=2)
def _load(name: str, device: str) -> LanguageModel:
    try:
        place = torch.device(device)
        torch.zeros(1, device=place).item()
    except (RuntimeError, AssertionError) as error:
        raise ValueError(f"device {device!r} cannot be used: {error}") from error
    try:
        with _without_progress_bars():
            where = _place(name)
            model, found = AutoModelForCausalLM.from_pretrained(
                where,
                attn_implementation=NAME,
                dtype=torch.float32 if place.type == "cpu" else "auto",
                trust_remote_code=False,
                output_loading_info=True,
            )
        tokenizer = None
        if _has_tokenizer(where):
            tokenizer = AutoTokenizer.from_pretrained(where, trust_remote_code=False)
    except (OSError, ValueError, KeyError, ImportError) as error:
        if "trust_remote_code" in str(error):
            raise ValueError(
                f"model {name!r} cannot be loaded: it runs code that comes with it; {_ALLOWED}"
            ) from None
        raise ValueError(f"model {name!r} cannot be loaded; {_ALLOWED}: {error}") from error
    except _BAD_WEIGHTS as error:  # whose own advice is to trust the file
        raise ValueError(
            f"model {name!r} cannot be loaded: its weights are damaged, or not those of this "
            f"model ({type(error).__name__}); allowed is what save_pretrained() wrote"
        ) from None
    if found["missing_keys"]:
        raise ValueError(
            f"model {name!r} cannot be loaded: there are no weights for "
            f"{sorted(found['missing_keys'])[:3]}; allowed is what save_pretrained() wrote"
        )
    kinds = {type(layer) for layer in DynamicCache(config=model.config).layers}
    if kinds != {DynamicLayer}:
        raise ValueError(
            f"model {name!r} keeps its cache in {sorted(kind.__name__ for kind in kinds)}; "
            "allowed are layers that attend to the whole prompt, without a sliding window"
        )
    return LanguageModel(name, model.to(place).eval(), tokenizer)


def _place(name: str) -> str:
    """What transformers knows a model by: a folder, or a name on the hub."""
    if name == SMALL_LLAMA:
        return str(small_llama.WEIGHTS)
    if name == gguf_files.SMOLLM2:
        return str(gguf_files.converted(gguf_files.smollm2()))
    return str(gguf_files.converted(Path(name))) if name.endswith(gguf_files.SUFFIX) else name


def _has_tokenizer(where: str) -> bool:
    """For a folder without one, transformers makes a tokenizer up that knows no words."""
    folder = Path(where)
    return not folder.is_dir() or any(folder.glob("tokenizer*")) or any(folder.glob("vocab*"))


@contextmanager
def _without_progress_bars() -> Iterator[None]:
    """Not those of transformers, that is; the hub's own show how a download goes on."""
    former = set_tqdm_hook(lambda factory, args, kwargs: factory(*args, **kwargs, disable=True))
    try:
        yield
    finally:
        set_tqdm_hook(former)
