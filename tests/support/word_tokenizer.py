"""A tokenizer with one token for each word."""

import json
from pathlib import Path

from transformers import PreTrainedTokenizerFast

WORDS = ["<unk>", "<s>", "</s>", *(f"w{i}" for i in range(57))]


def save_tokenizer(folder: Path, end: str = "</s>", chat: str | None = None) -> None:
    """Texts begin with <s>; `chat` is a template for chats."""
    vocabulary = {word: i for i, word in enumerate(WORDS)}
    begin = {"SpecialToken": {"id": "<s>", "type_id": 0}}
    text = {"Sequence": {"id": "A", "type_id": 0}}
    described = {
        "version": "1.0",
        "added_tokens": [],
        "pre_tokenizer": {"type": "WhitespaceSplit"},
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [begin, text],
            "pair": [begin, text],
            "special_tokens": {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}},
        },
        "model": {"type": "WordLevel", "vocab": vocabulary, "unk_token": "<unk>"},
    }
    (folder / "words.json").write_text(json.dumps(described))
    special = {"unk_token": "<unk>", "bos_token": "<s>", "eos_token": end}
    words = PreTrainedTokenizerFast(tokenizer_file=str(folder / "words.json"), **special)
    words.chat_template = chat
    words.save_pretrained(folder)
