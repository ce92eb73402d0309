"""What the gateway counts and times as requests come and go."""

from collections import Counter

from marlserve.serving.decisions.decision import REASONS, Decision
from marlserve.serving.service.exposition import CHANCES, LATENCIES_S, SECONDS, Histogram

PREFIX = "marlserve_gateway"
_TOKENS_S = (0.002, 0.005, 0.01, 0.02, 0.03, 0.05, 0.1, 0.2, 0.5, 1.0)


class Measures:
    """Of one gateway, and of one thread.

    Attributes:
        answers: by status; 0: the caller went before there was one.
        values: what the policy thought of each replica, at the latest decision that asked it.
    """

    def __init__(self) -> None:
        self.answers: Counter[str] = Counter()
        self.decisions = dict.fromkeys(REASONS, 0)
        self.outcomes = {"success": 0, "failure": 0}
        self.values: list[float] | None = None
        self.histograms = {
            name: Histogram(f"{PREFIX}_{name}", meaning, bounds)
            for name, meaning, bounds in (
                ("decision_seconds", "Time to decide.", SECONDS),
                ("propensity", "Chance of the action.", CHANCES),
                ("ttft_seconds", "Time to the first token, of streams.", LATENCIES_S),
                ("tpot_seconds", "Time per output token.", _TOKENS_S),
                ("e2e_seconds", "Time to the end of a reply.", LATENCIES_S),
            )
        }

    def decided(self, decision: Decision, seconds: float) -> None:
        """One more decision."""
        self.decisions[decision.reason] += 1
        self.histograms["decision_seconds"].add(seconds)
        self.histograms["propensity"].add(decision.propensity)
        if decision.values is not None:
            self.values = decision.values

    def ended(self, ttft_s: float | None, tpot_s: float | None, e2e_s: float) -> None:
        """One more reply; None is what cannot be told."""
        self.histograms["e2e_seconds"].add(e2e_s)
        if ttft_s is not None:
            self.histograms["ttft_seconds"].add(ttft_s)
        if tpot_s is not None:
            self.histograms["tpot_seconds"].add(tpot_s)

    def outcome(self, failed: bool) -> None:
        """One more outcome of a decision."""
        self.outcomes["failure" if failed else "success"] += 1
