"""What a program under control holds: it is asked for actions, and told what came of them.

    agent = Agent(ClientSettings(address="127.0.0.1:50051", policy="scheduler"))
    while ...:
        decision = agent.act(observation)
        decision.reward(carry_out(decision.action))
    agent.end(terminated=True)                     # or truncated=True, observation=...
    agent.close()

A decision is made here, by the newest policy that has arrived; nothing in it waits for the network
or the trainer. Rewards may come later, by `decision.reward` or `agent.reward(decision.id, ...)`,
as long as the settings wait for them. Programs with episodes side by side have an
`agent.episode(name)` for each, and those whose agents act together in each step an `agent.team()`;
different ones may be in different threads.
"""

from typing import Any

import numpy as np

from marlserve.serving.client.books import Books
from marlserve.serving.client.decision import Decision
from marlserve.serving.client.episode import Episode
from marlserve.serving.client.link import Link
from marlserve.serving.client.outbox import Outbox
from marlserve.serving.client.settings import ClientSettings
from marlserve.serving.client.team import Team
from marlserve.serving.wire import trainer_pb2 as pb


class Agent:
    """See the module.

    Attributes:
        books: how many decisions there were, and how fast.
        outbox: what waits to be sent, and what was lost.
        link: how it is with the trainer.

    Raises:
        ValueError: if a file or folder of the settings cannot be had.
    """

    def __init__(self, settings: ClientSettings):
        self.settings = settings
        self.books = Books(settings.seed)
        self.outbox = Outbox(settings, self.books.forget)
        self.link = Link(settings, self.outbox, self._report)
        self._own = self.episode()

    def episode(self, agent: str = "agent") -> Episode:
        """A place for the episodes of one agent, one after the other."""
        return Episode(agent, self.settings, self.books, self.outbox, self.link)

    def team(self) -> Team:
        """A place for the episodes of all agents that the trainer knows, which act together."""
        return Team(self.settings, self.books, self.outbox, self.link)

    def act(self, observation: Any, mask: np.ndarray | None = None) -> Decision:
        """What to do; see `Episode.act`."""
        return self._own.act(observation, mask)

    def end(
        self,
        terminated: bool = False,
        truncated: bool = False,
        observation: Any = None,
        mask: np.ndarray | None = None,
    ) -> None:
        """The episode is over; see `Episode.end`."""
        self._own.end(terminated, truncated, observation, mask)

    def reward(self, decision_id: int, value: float) -> bool:
        """What came of a decision; false if its steps are gone.

        Raises:
            ValueError: for a value that is not finite.
        """
        track = self.books.open.get(decision_id)
        index = None if track is None else track.index_of(decision_id)
        if index is None:
            self.books.late += 1
            return False
        return Decision(self.books, decision_id, None, track=track, index=index).reward(value)

    def wait_for_policy(self, timeout_s: float) -> bool:
        """Wait until there is a policy; whether there is."""
        return self.link.has_policy.wait(timeout_s)

    def close(self, timeout_s: float = 10.0) -> None:
        """Send what waits, unfinished episodes included, for so long at most."""
        for fragments in list(self.books.running):
            fragments.abandon()
        self.link.close(timeout_s)

    def __enter__(self) -> "Agent":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _report(self) -> pb.Report:
        times_us = self.books.decision_us()
        some = times_us if len(times_us) else np.zeros(1)
        return pb.Report(
            decisions=self.books.last_id,
            fallbacks=self.books.fallbacks,
            lost=self.outbox.lost,
            decision_mean_us=some.mean(),
            decision_p99_us=np.percentile(some, 99),
        )
