"""Gateways that send the requests of an episode to replicas, and what they know of these.

Model, for each of B independent copies of R replicas (see `replica`) and G gateways:

- Every request comes to one gateway, which sends it to a replica at once, or else to none: one sent
  to a replica that is down has failed. Requests are decided on in rounds. A round is the next
  request of the copy and those after it, as long as each comes to another gateway and at most
  `round_s` after the first. All of a round are decided on what is known as it begins; each is sent
  at its own time.
- A gateway knows of its own requests when they were sent, when their first tokens came and when
  they ended. What each replica tells of itself (requests that run and that wait, the share of its
  blocks in use, whether it is up) is scraped every `scrape_s`, between rounds, or at each round.
- How much of a prompt a replica should have in its cache is what a gateway concludes from what it
  sent there: a piece of a prompt is taken to be there until as many tokens were sent after it as
  the cache holds, times the number of gateways, as they know of each other only that they are.
- Replicas may change at given times: how slow they are, or that they go down, which loses all their
  requests and their cache, and come back. Or they drain: they end what they have, and reject more,
  and if they have ended it they come back with an empty cache.

What one decision costs all requests is foreseen as it is made: by `replica_outlook`, if no more
requests came. Over an episode these costs add up to the times that the requests did take, but for
what estimates are off, and what changes of replicas do.
"""

from collections.abc import Sequence

import numpy as np

from marlserve.envs.sims import gateways_arrays as arrays
from marlserve.envs.sims import gateways_kernel as kernel
from marlserve.envs.sims import gateways_outlook
from marlserve.envs.sims.gateways_arrays import CHANGE, DRAIN
from marlserve.envs.sims.replica import Engine, Replicas, grown

__all__ = ["CHANGE", "DRAIN", "Gateways"]
_NEVER = np.iinfo(np.int64).max


class Gateways:
    """B copies of G gateways in front of R replicas.

    Public arrays, with the fields of `gateways_arrays`: `copies` [B], `asked` [B, N] beside the
    `requests` of `replicas`, `pairs` [B, G, R], `scraped` [B, R], `decisions` [B, G], and
    `matched` [B, G, R], the tokens of each gateway's present request that replicas should have.

    Args:
        num_envs: B.
        num_gateways: G.
        engines: one per replica.
        round_s: see above, not negative.
        scrape_s: see above; 0: at each round.
        slo_s: times to first token and per output token within which a request is served well.
        chain_tokens: prompt tokens that a node of a request's chain stands for.
        max_tokens: the longest request, prompt and output.

    Raises:
        ValueError: for an argument outside these bounds.
    """

    def __init__(
        self,
        num_envs: int,
        num_gateways: int,
        engines: Sequence[Engine],
        *,
        round_s: float = 0.1,
        scrape_s: float = 0.0,
        slo_s: tuple[float, float] = (1.0, 0.05),
        chain_tokens: int = 512,
        max_tokens: int = 131_072,
    ):
        for name, value in (("round_s", round_s), ("scrape_s", scrape_s)):
            if not 0 <= value < np.inf:
                raise ValueError(f"{name} is {value}; it must be at least 0, and finite")
        if num_gateways < 1:
            raise ValueError(f"num_gateways is {num_gateways}; it must be at least 1")
        self.replicas = Replicas(
            num_envs, engines, chain_tokens=chain_tokens, max_tokens=max_tokens
        )
        b, g, r = num_envs, num_gateways, len(engines)
        self.shape = b, g, r
        self.copies = np.zeros(b, arrays.COPY)
        self.asked = np.zeros((b, 0), arrays.REQUEST)
        self.pairs = np.zeros((b, g, r), arrays.PAIR)
        self.scraped = np.zeros((b, r), arrays.SCRAPED)
        self.decisions = np.zeros((b, g), arrays.DECISION)
        self.matched = np.zeros((b, g, r), np.int64)
        self._index = np.zeros((b, g, 0, r), np.int64)
        self._changes = np.zeros((b, 0), CHANGE)
        self._homes = np.zeros((b, 0), np.int64)  # the replica of each session's latest request
        self._limits = np.array(slo_s, float)
        self._round_ns, self._scrape_ns = round(1e9 * round_s), round(1e9 * scrape_s)

    def reset(
        self,
        copy: int,
        arrival_s: np.ndarray,
        gateway: np.ndarray,
        requests: Sequence[np.ndarray],
        *,
        warm_s: float,
        end_s: float,
        rates: np.ndarray,
        session: np.ndarray | None = None,
        expected_output: np.ndarray | None = None,
        slowness: np.ndarray | float = 1.0,
        changes: np.ndarray | None = None,
    ) -> None:
        """Empty one copy, give it the requests of an episode, and play its warm-up.

        Args:
            copy: its index in the batch.
            arrival_s: [N], sorted, before `end_s`.
            gateway: [N], to which they come.
            requests: prompt_tokens, output_tokens, chain_starts, chain_nodes as `Replicas.reset`
                takes them; nodes are below their number.
            warm_s: until then requests are sent by fewest in flight over the `rates`, [R].
            end_s: where the episode ends.
            session: [N], numbered from 0 on, or -1 where it is not known.
            expected_output: [N] tokens that a predictor gives.
            slowness: [R], or one for all.
            changes: of replicas, `CHANGE`, sorted by time; a slowness of 0 means down, and `DRAIN`
                that it drains; any other brings it back.

        Raises:
            ValueError: for values out of these bounds.
        """
        arrival_s, n = np.asarray(arrival_s, float), len(arrival_s)
        changes = np.zeros(0, CHANGE) if changes is None else changes
        rises = (np.diff(arrival_s) >= 0).all()
        if n and not (rises and 0 <= arrival_s[0] <= arrival_s[-1] < end_s):
            raise ValueError(f"arrival_s must rise from 0 on, and end before {end_s}")
        rates, slowness_then = np.asarray(rates, float), changes["slowness"]
        session = np.full(n, -1) if session is None else np.asarray(session)
        expected = np.zeros(n) if expected_output is None else np.asarray(expected_output)
        for name, value, good, allowed in (
            ("gateway", gateway, (gateway >= 0) & (gateway < self.shape[1]), "0 to G - 1"),
            ("session", session, session >= -1, "at least -1"),
            ("expected_output", expected, expected >= 0, "at least 0"),
            ("rates", rates, np.isfinite(rates) & (rates > 0), "positive and finite"),
            (
                *("changes' replica", changes["replica"]),
                *((changes["replica"] >= 0) & (changes["replica"] < self.shape[2]), "0 to R - 1"),
            ),
            (
                *("changes' slowness", slowness_then),
                np.isfinite(slowness_then) & ((slowness_then >= 0) | (slowness_then == DRAIN)),
                "at least 0 and finite, or DRAIN",
            ),
            (
                *("changes' time_ns", changes["time_ns"]),
                *(np.diff(changes["time_ns"], prepend=0) >= 0, "rising from 0 on"),
            ),
        ):
            if not good.all():
                raise ValueError(f"{name} has {value[~good][0]}; allowed is {allowed}")
        if not len(gateway) == len(session) == len(expected) == n or len(rates) != self.shape[2]:
            raise ValueError(
                f"there are {n} arrival_s, {len(gateway)} gateway, {len(session)} session, "
                f"{len(expected)} expected_output, and {len(rates)} rates of {self.shape[2]} "
                "replicas; they do not belong together"
            )
        prompt_tokens, output_tokens, chain_starts, nodes = requests
        self.replicas.reset(
            copy, prompt_tokens, output_tokens, chain_starts, nodes, slowness=slowness
        )
        self.asked = grown(self.asked, max(n, 1))
        self._changes = grown(self._changes, len(changes), fill=(_NEVER, 0, 1.0))
        self._index = grown(self._index, int(nodes.max()) + 1 if len(nodes) else 0, axis=2)
        for array in (self.pairs, self.scraped, self.decisions, self._index):
            array[copy] = 0
        num_sessions = int(session.max()) + 1 if n else 0
        self._homes = grown(self._homes, max(num_sessions, 1), fill=-1)
        self._homes[copy] = -1
        asked = self.asked[copy]
        asked["arrival_ns"][:n] = np.rint(arrival_s * 1e9)
        asked["gateway"][:n] = gateway
        asked["session"][:n], asked["expected_output"][:n] = session, expected
        self._changes["time_ns"][copy] = _NEVER
        self._changes[copy, : len(changes)] = changes
        self.copies[copy] = 0
        self.copies["last"][copy] = n
        self.copies["scraped_ns"][copy] = -max(self._scrape_ns, 1)
        self.copies["warm_ns"][copy] = round(1e9 * warm_s)
        self.copies["end_ns"][copy] = round(1e9 * end_s)
        kernel.start(
            *(copy, self._round_ns, self._scrape_ns, np.asarray(rates, float)),
            *self._arguments,
        )

    def step(self, chosen: np.ndarray) -> None:
        """Play each copy's round, by the replica that each gateway chose, [B, G], and begin the
        next one. What a gateway without a request chose does not matter."""
        kernel.step(
            *(np.asarray(chosen, np.int64), self._round_ns, self._scrape_ns),
            *self._arguments,
        )

    def present(self) -> np.ndarray:
        """The number of the request that each gateway has to send now, [B, G]; -1: none."""
        found = np.full(self.shape[:2], -1)
        copies = self.copies
        for i in range(int(copies["count"].max())):
            b = np.flatnonzero(copies["count"] > i)
            q = copies["first"][b] + i
            found[b, self.asked["gateway"][b, q]] = q
        return found

    def what_if(self, ttft_weight: float, e2e_weight: float) -> tuple[np.ndarray, np.ndarray]:
        """For each gateway's present request and each replica, [B, G, R], in seconds: the weighted
        times to its first and last token, and by how much those of all requests would rise."""
        own_s, all_s = np.zeros(self.shape), np.zeros(self.shape)
        known, state, rules, timings, *_ = self._arguments
        gateways_outlook.what_if(
            *(self.present(), np.array([ttft_weight, e2e_weight], float), own_s, all_s),
            *(known, state, rules, timings),
        )
        return own_s, all_s

    def homes(self, present: np.ndarray) -> np.ndarray:
        """The replica to which the sessions of these requests, [B, G], sent last, or -1."""
        b = np.arange(len(present))[:, None]
        session = self.asked["session"][b, present]
        return np.where((present >= 0) & (session >= 0), self._homes[b, session], -1)

    @property
    def _arguments(self) -> tuple:
        replicas = self.replicas
        known = (
            *(self.copies, self.asked, self.pairs, self.scraped, self.decisions),
            *(self._index, self.matched, self._changes, self._limits, self._homes),
        )
        return (known, *replicas.arguments, replicas.num_submitted)
