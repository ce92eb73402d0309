"""Language models by name: the small one that is shipped, a folder, or the Hugging Face hub."""

from dataclasses import dataclass
from functools import lru_cache

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel
from transformers.tokenization_utils_base import PreTrainedTokenizerBase

from marlserve.envs.sims.kv_compression import small_llama
from marlserve.envs.sims.kv_compression.attention import NAME

SMALL_LLAMA = "small_llama"
_ALLOWED = (
    f"allowed is {SMALL_LLAMA!r}, a folder that save_pretrained() wrote, or the name of a causal "
    "language model on the Hugging Face hub, if the hub can be reached or has been before"
)


@dataclass(frozen=True)
class LanguageModel:
    """A model that is ready to read prompts.

    Attributes:
        name: by which it was loaded.
        model: in eval mode, with attention that tells its scores.
        tokenizer: None for the small model, whose prompts are made of token ids.
    """

    name: str
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase | None


@lru_cache(maxsize=2)
def load(name: str = SMALL_LLAMA, device: str = "cpu") -> LanguageModel:
    """A model by name; asked for again, it is the same object.

    On a GPU the weights are in the type that they were saved in, on a CPU in float32.

    Raises:
        ValueError: for an unknown device; for a model that cannot be had, or whose layers do not
            all attend to the whole prompt.
    """
    try:
        place = torch.device(device)
        torch.empty(0, device=place)
    except (RuntimeError, AssertionError) as error:
        raise ValueError(f"device {device!r} cannot be used: {error}") from error
    where = small_llama.WEIGHTS if name == SMALL_LLAMA else name
    try:
        model = AutoModelForCausalLM.from_pretrained(
            where,
            attn_implementation=NAME,
            dtype=torch.float32 if place.type == "cpu" else "auto",
        )
        tokenizer = None if name == SMALL_LLAMA else AutoTokenizer.from_pretrained(where)
    except (OSError, ValueError) as error:
        raise ValueError(f"model {name!r} cannot be loaded; {_ALLOWED}: {error}") from error
    kinds = set(getattr(model.config, "layer_types", None) or ["full_attention"])
    if kinds != {"full_attention"}:
        raise ValueError(
            f"model {name!r} has layers of {sorted(kinds)}; allowed is 'full_attention' only"
        )
    return LanguageModel(name, model.to(place).eval(), tokenizer)
