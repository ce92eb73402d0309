"""How well a compressed cache's answer stands in for the full cache's."""

from collections.abc import Callable, Mapping
from operator import itemgetter
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from marlserve.envs.sims.text_encoder import TextEncoder

if TYPE_CHECKING:  # the package of the simulator says what to do where the library is missing
    from transformers import PreTrainedModel


def answer_length(reference: Tensor, end_token: int | None) -> int:
    """Tokens of the full cache's answer [m] that count: those up to its end, which is included."""
    ends = torch.nonzero(reference == end_token) if end_token is not None else reference[:0]
    return int(ends[0]) + 1 if len(ends) else len(reference)


def agreement(answers: Tensor, reference: Tensor) -> np.ndarray:
    """Share of the reference's tokens that an answer has at the same place: [A] of [A, m], [m]."""
    return (answers == reference).double().mean(1).cpu().numpy()


def token_cosine(answers: Tensor, reference: Tensor, model: "PreTrainedModel") -> np.ndarray:
    """Cosine of the mean token embeddings, in the model's own embedding, where negative zero."""
    embedding = model.get_input_embeddings()
    with torch.inference_mode():
        means = [embedding(x).double().mean(-2) for x in (answers, reference)]
    return _bounded(torch.cosine_similarity(means[0], means[1][None], dim=-1).cpu().numpy())


def text_cosine(answers: list[str], reference: str, encoder: TextEncoder) -> np.ndarray:
    """Cosine of the texts' embeddings, where negative zero."""
    texts = list(dict.fromkeys([reference, *answers]))
    # One by one, so that an answer's embedding does not depend on those beside it.
    vectors = encoder.encode(texts, batch_size=1).astype(float)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)  # which was 1 in float32
    cosines = dict(zip(texts, vectors @ vectors[0], strict=True))
    return _bounded(np.array([cosines[text] for text in answers]))


def _bounded(cosines: np.ndarray) -> np.ndarray:
    return np.clip(cosines, 0.0, 1.0)


# What a policy may learn from, of outcomes in any shape; a table has all of them.
REWARDS: dict[str, Callable[[Mapping[str, np.ndarray]], np.ndarray]] = {
    "agreement": itemgetter("agreement"),
    "cosine": itemgetter("cosine"),
    "score": itemgetter("score"),
}
