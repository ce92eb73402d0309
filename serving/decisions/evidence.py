"""Evidence that one stream of numbers is worse than another, whenever one looks at it.

    evidence = Evidence(margin=0.01, false_alarm_every=20_000)
    evidence.add(difference)          # of a pair: the policy's number less the heuristic's
    evidence.is_alarm

The differences are in [-1, 1]. Gamblers bet that they exceed the margin, each with a stake of its
own; as long as the expectation of each difference, given those before it, is at most the margin, no
gambler gains by that on average, whatever the distributions are (Waudby-Smith and Ramdas 2024, JRSS
B 86, p. 1; of two samples: Shekhar and Ramdas 2023, IEEE Trans. Inf. Theory 70, p. 1178). Who falls
below 1 begins anew with 1, so that the evidence for a change that comes late is not weighed down by
good times; the mean of their wealths is then an e-detector of the CUSUM kind (Shin, Ramdas and
Rinaldo 2024, "E-detectors", New Engl. J. Stat. Data Sci. 2, p. 229). With the alarm at a mean of c,

- alarms are false after at least c pairs on average, and
- within n pairs with a chance of at most n / c.

How soon a true one comes is docs/serving.md's table, by simulation.
"""

from marlserve.envs import checks

_STAKES = (0.05, 0.15, 0.4, 0.9)  # of the wealth, over the most that a pair can lose


class Evidence:
    """That differences exceed a margin.

    Args:
        margin: in [0, 1): worse by less is not worth an alarm.
        false_alarm_every: c, pairs.

    Raises:
        ValueError: for another margin, and for c below 10.
    """

    def __init__(self, margin: float, false_alarm_every: float):
        self.margin, self.false_alarm_every = margin, false_alarm_every
        checks.number(self, "margin", 0.0, 0.99)
        checks.number(self, "false_alarm_every", 10.0, 1e12)
        self._stakes = [stake / (1.0 + margin) for stake in _STAKES]
        self._wealths = [1.0] * len(_STAKES)

    @property
    def wealth(self) -> float:
        """The evidence; `false_alarm_every` is an alarm."""
        return sum(self._wealths) / len(self._wealths)

    @property
    def is_alarm(self) -> bool:
        return self.wealth >= self.false_alarm_every

    def add(self, difference: float) -> None:
        """One more pair.

        Raises:
            ValueError: for a difference that is not in [-1, 1].
        """
        if not -1.0 <= difference <= 1.0:
            raise ValueError(f"difference is {difference}; allowed is a number from -1 to 1")
        excess = difference - self.margin
        self._wealths = [
            max(wealth, 1.0) * (1.0 + stake * excess)
            for wealth, stake in zip(self._wealths, self._stakes, strict=True)
        ]
