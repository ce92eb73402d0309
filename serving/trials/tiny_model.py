"""A model of next to nothing, as engines read it: words, each a token, and weights at random.

folder = written(Path("tiny"), hidden_size=256, layers=4)
"""

import json
from pathlib import Path
from random import Random

NAME = "tiny"  # that callers ask for
VOCABULARY = 2_000  # words w0, w1, ..., each one token
FIRST_WORD = 3  # the tokens before it stand for no word
MOST_TOKENS = 131_072  # of a request
_HEAD = 64  # numbers of an attention head


def words(number: int, rng: Random) -> list[int]:
    """The tokens of so many words, all alike likely."""
    return [FIRST_WORD + rng.randrange(VOCABULARY) for _ in range(number)]


def written(folder: Path, hidden_size: int = _HEAD, layers: int = 1) -> Path:
    """The folder, with a Llama's configuration and a tokenizer; there are no weights.

    Args:
        hidden_size: a multiple of 64.
    """
    folder.mkdir(exist_ok=True)
    known = ["<unk>", "<s>", "</s>", *(f"w{i}" for i in range(VOCABULARY))]
    tokenizer = {
        "version": "1.0",
        "added_tokens": [],
        "pre_tokenizer": {"type": "WhitespaceSplit"},
        "model": {
            "type": "WordLevel",
            "vocab": {word: i for i, word in enumerate(known)},
            "unk_token": "<unk>",
        },
    }
    config = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": len(known),
        "hidden_size": hidden_size,
        "intermediate_size": 3 * hidden_size,
        "num_hidden_layers": layers,
        "num_attention_heads": hidden_size // _HEAD,
        "max_position_embeddings": MOST_TOKENS,
        "bos_token_id": 1,
        "eos_token_id": 2,
    }
    described = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": "<s>",
        "eos_token": "</s>",
        "unk_token": "<unk>",
        "chat_template": "{% for m in messages %}{{ m['content'] }} {% endfor %}",
    }
    for name, content in (
        ("tokenizer.json", tokenizer),
        ("config.json", config),
        ("tokenizer_config.json", described),
    ):
        (folder / name).write_text(json.dumps(content))
    return folder
