"""A replica as its gateway knows it: what is under way there, and what it tells of itself.

    flight = Flight(replica, prompt_tokens=800, new_tokens=160, now_s=clock())
    flight.first(clock())              # its first token came
    flight.generated(1)                # and more
    flight.end(clock(), output_tokens=64)

Numbers are those of `envs.replica_routing.observation.Measured`, counted as simulated gateways do.
"""

from math import inf

_RECENT = 0.1  # weight of the newest latency in a mean


class Replica:
    """See the module.

    Args:
        name: where it is.
        speed: that policies are told; 0: they are not.
        cache_tokens: that its cache holds; it may tell another number later.

    Attributes:
        pieces: of prompts that should be in its cache, with `sent_tokens` as of when they were sent
            last; see `prefix_index`.
        sent_tokens: that it had to compute, so far.
        prefix_hit_share: of tokens looked up in its cache, as it tells.
        ejected_until_s: it gets nothing until then.
        failures: requests that failed since one came through.
        ejections: since it was well for long.
        checks: health checks that failed since one came through.
    """

    def __init__(self, name: str, speed: float = 0.0, cache_tokens: float = 2.0**20):
        self.name, self.speed, self.cache_tokens = name, speed, cache_tokens
        self.pieces: dict[int, int] = {}
        self.requests = self.unanswered = 0
        self.prompt_tokens = self.generated_tokens = self.new_tokens = self.sent_tokens = 0
        self.ttft_s = self.tpot_s = 0.0
        self.answers = self.completed = 0  # that these are means of
        self.running = self.waiting = self.kv_usage = self.prefix_hit_share = 0.0
        self.scraped_s = -inf
        self.is_up, self.is_draining = True, False
        self.ejected_until_s = -inf
        self.failures = self.ejections = self.checks = 0

    def is_available(self, now_s: float) -> bool:
        """Whether it may get requests."""
        return self.is_up and not self.is_draining and now_s >= self.ejected_until_s

    def forget(self) -> None:
        """Its cache is gone, and what it was like before is no measure."""
        self.pieces.clear()
        self.ttft_s = self.tpot_s = 0.0
        self.answers = self.completed = 0


class Flight:
    """A request that is at a replica, until `end`.

    Attributes:
        first_s: when its first token came; None: not yet.
    """

    __slots__ = ("_generated", "_new_tokens", "_prompt_tokens", "first_s", "replica", "sent_s")

    def __init__(self, replica: Replica, prompt_tokens: int, new_tokens: int, now_s: float):
        self.replica, self.sent_s = replica, now_s
        self.first_s: float | None = None
        self._prompt_tokens, self._new_tokens, self._generated = prompt_tokens, new_tokens, 0
        replica.requests += 1
        replica.unanswered += 1
        replica.prompt_tokens += prompt_tokens
        replica.new_tokens += new_tokens
        replica.sent_tokens += new_tokens

    def first(self, now_s: float) -> None:
        """Its first token came."""
        replica, self.first_s = self.replica, now_s
        replica.unanswered -= 1
        replica.new_tokens -= self._new_tokens
        replica.answers += 1
        took_s = now_s - self.sent_s
        replica.ttft_s += (took_s - replica.ttft_s) * max(_RECENT, 1.0 / replica.answers)

    def generated(self, tokens: int) -> None:
        """So many more tokens came."""
        self._generated += tokens
        self.replica.generated_tokens += tokens

    def end(self, now_s: float, output_tokens: int | None) -> float | None:
        """It is there no longer; seconds per output token, if that can be told.

        Args:
            output_tokens: None: it failed, or nobody waits for it any more.
        """
        replica, first_s = self.replica, self.first_s
        replica.requests -= 1
        replica.prompt_tokens -= self._prompt_tokens
        replica.generated_tokens -= self._generated
        if first_s is None:
            replica.unanswered -= 1
            replica.new_tokens -= self._new_tokens
        if output_tokens is None:
            return None
        replica.sent_tokens += output_tokens
        # An answer that comes whole tells no first token: all of its time is that of its tokens.
        took_s = now_s - (self.sent_s if first_s is None else first_s)
        tokens = output_tokens - (first_s is not None)
        if tokens <= 0:
            return None
        tpot_s = took_s / tokens
        replica.completed += 1
        replica.tpot_s += (tpot_s - replica.tpot_s) * max(_RECENT, 1.0 / replica.completed)
        return tpot_s
