"""A rule that learns while it routes: it predicts the latencies of a request at each replica.

The time to the first token and that per further token are linear in what the gateway knows of the
replica and of the request as it decides, with numbers for each replica that a ridge regression
finds anew with every time that the gateway measures. After llm-d's predicted-latency scheduling
(https://llm-d.ai/docs/architecture/advanced/latency-predictor), which sends a request without
limits where the two times predicted are lowest, and reads the same: the cache in use, the prompt,
the part of it that is cached, what runs and waits, tokens in flight. There one model, of trees or a
Bayesian ridge, is that of all replicas, which have to be alike; here each has its own.
"""

from typing import Any, NamedTuple

import numpy as np

from marlserve.envs.replica_routing.config import Config
from marlserve.envs.replica_routing.observation import Measured
from marlserve.envs.sims.replica import grown


class Outcomes(NamedTuple):
    """What gateways have measured of their own requests, by their numbers; NaN: not known yet."""

    present: np.ndarray  # number of the request that each gateway has now, -1: none, [B, G]
    replica: np.ndarray  # where each was sent, -1: not yet, [B, N]
    ttft_s: np.ndarray  # [B, N]
    tpot_s: np.ndarray  # of those that ended with two tokens at least, [B, N]


class LatencyPredictor:
    """Scores are weighted seconds, as a reward weighs them; those of replicas that nothing is known
    of are 0, so that each is tried.

    Args:
        problem: what measures; one batch of episodes is played.
        output_tokens: of a request whose output nobody predicts.
        ridge: how strongly numbers are held to 0: as so many requests of which all that is known is
            1, and that took no time. The default was the best of six, from 1e-4 to 100, on training
            traffic of MIXED.
        memory: requests after which what a replica did counts for a third.
    """

    _sent: np.ndarray  # what was known of the replica that each request went to, [B, N, F]
    _gateway: np.ndarray  # [B, N]
    _open: np.ndarray  # whose times are not known yet, to the first token and per token, [2, B, N]
    _squares: np.ndarray  # [2, B, G, R, F, F]
    _products: np.ndarray  # [2, B, G, R, F]
    _numbers: np.ndarray  # that times are linear with, [2, B, G, R, F]

    def __init__(
        self,
        problem,
        output_tokens: float = 335.0,
        ridge: float = 30.0,
        memory: float = 300.0,
    ):
        self._outcomes = problem.outcomes
        self._output_tokens, self._ridge = output_tokens, ridge
        self._keep = np.exp(-1.0 / memory)
        self._asked = np.zeros((0, 0, 0))

    def __call__(self, seen: Measured, config: Config) -> np.ndarray:
        """The scores, [B, G, R]."""
        known, features = self._outcomes(), _features(seen)
        if not len(self._asked):
            self._start(features.shape)
        num_requests = known.replica.shape[1]  # a copy that begins anew may have more of them
        self._sent, self._gateway = (grown(x, num_requests) for x in (self._sent, self._gateway))
        self._open = grown(self._open, num_requests, axis=2)
        if len(self._asked):
            self._learn(known)
        self._asked, self._present = features, known.present
        ttft_s, tpot_s = np.maximum(np.einsum("bgrf,kbgrf->kbgr", features, self._numbers), 0.0)
        predicted = seen.request_output_tokens[..., None]
        output = np.where(predicted > 0, predicted, self._output_tokens)
        return (config.ttft_weight + config.e2e_weight) * ttft_s + config.e2e_weight * (
            output * tpot_s
        )

    def _start(self, shape: tuple[int, ...]) -> None:
        b, *_, f = shape
        self._sent, self._gateway = np.zeros((b, 0, f)), np.zeros((b, 0), np.int64)
        self._open = np.zeros((2, b, 0), bool)
        self._squares = np.zeros((2, *shape, f))
        self._products, self._numbers = np.zeros((2, *shape)), np.zeros((2, *shape))

    def _learn(self, known: Outcomes) -> None:
        """From the requests that were sent since, and from the times that were measured since."""
        b, g = np.nonzero(self._present >= 0)
        number = self._present[b, g]
        self._sent[b, number] = self._asked[b, g, known.replica[b, number]]
        self._gateway[b, number] = g
        self._open[:, b, number] = True
        for kind, times_s in enumerate((known.ttft_s, known.tpot_s)):
            b, number = np.nonzero(self._open[kind] & ~np.isnan(times_s))
            self._open[kind, b, number] = False
            at: Any = (kind, b, self._gateway[b, number], known.replica[b, number])
            x, y_s = self._sent[b, number], times_s[b, number]
            np.multiply.at(self._squares, at, self._keep)
            np.multiply.at(self._products, at, self._keep)
            np.add.at(self._squares, at, x[:, :, None] * x[:, None, :])
            np.add.at(self._products, at, x * y_s[:, None])
            held = self._squares[at] + self._ridge * np.eye(x.shape[1])
            self._numbers[at] = np.linalg.solve(held, self._products[at][..., None])[..., 0]


def _features(seen: Measured) -> np.ndarray:
    """Of every replica, about 1 at most, [..., R, F]."""
    prompt = np.asarray(seen.request_prompt_tokens)[..., None]
    columns = (
        np.ones(seen.requests.shape),
        (prompt - seen.matched_tokens) / 1e4,
        seen.new_tokens / 1e4,
        (seen.prompt_tokens + seen.generated_tokens + prompt) / 1e5,
        seen.requests / 16.0,
        (seen.running + seen.waiting) / 16.0,
        seen.kv_usage,
    )
    return np.stack(columns, axis=-1)
