"""The default language model: a Llama of 324,224 weights that reads the synthetic prompts.

It learned to look up facts and to copy words; its weights are shipped, see `WEIGHTS`, and were
made by

    python experiments/kv_compression.py make-model --seed 0

Prompts grow in the course of the training: whoever starts with the longest does not find out that
a fact is somewhere in the prompt at all. The loss counts what a prompt determines, which is the
values of lookups and the copied words.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy
from transformers import LlamaConfig, LlamaForCausalLM

from marlserve.envs.sims.kv_compression.tasks import (
    COPY,
    PAD,
    QUERY,
    SPLITS,
    TYPES,
    VOCABULARY_SIZE,
    Family,
    Prompt,
)

WEIGHTS = Path(__file__).parent / "small_llama"

# Prompt lengths and numbers of facts, in the order of the training.
STAGES = ((48, 6), (96, 12), (160, 18), (256, 24))
_PASSED = 0.93  # accuracy at which the next stage begins
_NUM_TURNS = 8
_TOKENS_PER_STEP = 6144
_DECAY_SHARE = 0.3  # of the training, at its end
_IGNORED = -100


def untrained(seed: int) -> LlamaForCausalLM:
    """The model with random weights.

    Two layers are the least that can look up: the first tells every token what stands before it,
    the second finds the tokens that stand behind the one asked for.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return LlamaForCausalLM(
            LlamaConfig(
                vocab_size=VOCABULARY_SIZE,
                hidden_size=128,
                intermediate_size=256,
                num_hidden_layers=2,
                num_attention_heads=4,
                num_key_value_heads=2,
                max_position_embeddings=2048,
                tie_word_embeddings=False,
                pad_token_id=PAD,
                bos_token_id=None,
                eos_token_id=None,
            )
        )


def train(
    seed: int = 0,
    num_steps: int = 1000,
    stages: tuple[tuple[int, int], ...] = STAGES,
    report: Callable[[int, int, float], None] = lambda step, length, accuracy: None,
    tokens_per_step: int = _TOKENS_PER_STEP,
    lr: float = 2e-3,
    warm_up_steps: int = 100,
    model: LlamaForCausalLM | None = None,
) -> LlamaForCausalLM:
    """Train a model, by AdamW.

    Args:
        seed: of the weights and of the prompts; runs repeat on one kind of processor.
        num_steps: how many batches.
        stages: (prompt length, number of facts), of growing length.
        report: told (step, prompt length, running mean of the accuracy) after each step.
        tokens_per_step: of a batch, about.
        lr: the highest learning rate.
        warm_up_steps: until it is reached.
        model: to train further; without it, one with random weights is made.
    """
    model = untrained(seed) if model is None else model.train()
    generator = np.random.default_rng((seed, SPLITS.index("model")))
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=lr, betas=(0.9, 0.98), weight_decay=0.01, fused=True
    )
    stage, running = 0, 0.0
    for step in range(num_steps):
        length, num_facts = stages[stage]
        tokens, labels = batch(generator, length, num_facts, tokens_per_step)
        for group in optimizer.param_groups:
            group["lr"] = lr * _schedule(step, num_steps, warm_up_steps)
        hidden = model.model(tokens).last_hidden_state[:, :-1]
        counts, wanted = labels[:, 1:] != _IGNORED, labels[:, 1:]
        logits = model.lm_head(hidden[counts])
        loss = cross_entropy(logits, wanted[counts])
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        right = (logits.argmax(-1) == wanted[counts]).float().mean().item()
        running = 0.95 * running + 0.05 * right
        report(step + 1, length, running)
        if running > _PASSED and stage + 1 < len(stages):
            stage, running = stage + 1, 0.3
    return model.eval()


def batch(
    generator: np.random.Generator,
    length: int,
    num_facts: int,
    num_tokens: int = _TOKENS_PER_STEP,
) -> tuple[Tensor, Tensor]:
    """Prompts with their turns and the right replies, and what of them is to be predicted.

    Half of the prompts are tagged.

    Returns:
        tokens [B, n] and labels [B, n], int64; -100 where a token is not determined.
    """
    families = [Family(length, num_facts, _NUM_TURNS, tagged) for tagged in (False, True)]
    size = max(8, num_tokens // (length + 3 * _NUM_TURNS))
    drawn = [
        families[generator.integers(2)].draw(generator, int(generator.integers(len(TYPES))))
        for _ in range(size)
    ]
    sequences = [_conversation(prompt) for prompt in drawn]
    tokens = np.full((size, max(map(len, sequences))), PAD)
    labels = np.full(tokens.shape, _IGNORED)
    for row, sequence in enumerate(sequences):
        known = _determined(sequence)
        tokens[row, : len(sequence)] = sequence
        labels[row, : len(sequence)][known] = sequence[known]
    return torch.from_numpy(tokens), torch.from_numpy(labels)


def _conversation(prompt: Prompt) -> np.ndarray:
    turns = [part for turn in prompt.turns for part in (turn.tokens, turn.answer)]
    return np.concatenate([prompt.tokens, *turns])


def _determined(sequence: np.ndarray) -> np.ndarray:
    """Which tokens follow from those before: values of lookups, and words said again, [n] bool."""
    known = np.zeros(len(sequence), bool)
    known[2:] = sequence[:-2] == QUERY
    copies = np.flatnonzero(sequence == COPY)
    if len(copies) == 2:
        known[copies[1] + 1 :] = True
    return known


def _schedule(step: int, num_steps: int, warm_up_steps: int) -> float:
    """Rises linearly to 1, stays, and falls linearly to a twentieth."""
    left = (1.0 - step / num_steps) / _DECAY_SHARE
    return min(1.0, (step + 1) / warm_up_steps, max(0.05, left))
