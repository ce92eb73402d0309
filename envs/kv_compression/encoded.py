"""A table told anew by a text encoder: no prompt is read again, and nothing answered.

    encoded.build(plain, folder, config, first)

A table without an encoder keeps the answers, so that another one can be made of it: its prompts
have the context "text", the encoder's embedding, and "cosine" is that of the answers' embeddings
instead of the language model's own. The source's contexts and rewards are these.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from marlserve.envs.kv_compression import observation, rewards, table
from marlserve.envs.kv_compression.live import prompts_of
from marlserve.envs.sims.kv_compression import language_model


def without(config):
    """The same problem without an encoder, seen by what needs none."""
    return replace(config, text_encoder="", context=("length",))


def build(plain: Path, folder: Path, config, first: int) -> None:
    """Write one file: the prompts from `first` on, one of `table.chunks`.

    Args:
        plain: a table of the same problem without an encoder.
        folder: where the other one is, or will be.
        config: with a `text_encoder`.

    Raises:
        ValueError: if the config has no encoder, `plain` lacks these prompts or what was said, or
            one of the folders holds a table of another problem.
    """
    if not config.text_encoder:
        raise ValueError("text_encoder is ''; name the one to encode with")
    if folder.exists():
        table.missing(folder, config)
    columns = table.columns(plain, without(config), first)
    if table.SAID not in columns:
        raise ValueError(
            f"{plain} does not tell what was said, as it is of an earlier version: make-table "
            "--text-encoder makes one with an encoder"
        )
    prompts, encoder = prompts_of(config), observation.text_encoder(config)
    tokenizer: Any = language_model.load(config.model_name, config.device).tokenizer
    texts, cosines = [], []
    for index, said in enumerate(columns[table.SAID], start=first):
        reference = torch.from_numpy(said[-1][said[-1] >= 0])
        length = rewards.answer_length(reference, prompts.end_token)
        answers = tokenizer.batch_decode(list(said[:, :length]), skip_special_tokens=True)
        cosines.append(rewards.text_cosine(answers[:-1], answers[-1], encoder))
        texts.append(encoder.encode([prompts[index].text])[0])
    columns["cosine"] = np.array(cosines, np.float32)
    columns[table.CONTEXT + "text"] = np.array(texts, np.float32)
    table.write(folder, config, first, columns)
