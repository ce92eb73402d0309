"""The version of the policy that is played: looked for on disk, swapped between decisions."""

import asyncio
import logging
from collections.abc import Callable

from marlserve.serving.decisions.decider import Decider
from marlserve.serving.decisions.player import AGENT, Player
from marlserve.serving.policy_store import PolicyStore

_log = logging.getLogger(__name__)


class Policies:
    """Gives the decider what the store serves.

    Args:
        check: raises a ValueError for a policy that does not play this service's problem.
        agent: whom it plays for.

    Attributes:
        refused: how often a version was not taken, since it is broken or for something else.
        why: it was not the last time; "" if it was.
    """

    def __init__(
        self,
        store: PolicyStore,
        decider: Decider,
        check: Callable[[Player], None],
        agent: str = AGENT,
    ):
        self.store, self._decider = store, decider
        self._check, self._agent = check, agent
        self.refused, self.why = 0, ""
        self._seen = ("", 0.0)  # version and when it was published

    async def watch(self, every_s: float) -> None:
        """Look again and again."""
        while True:
            await self.look()
            await asyncio.sleep(every_s)

    async def look(self) -> None:
        """Play what is served now; what cannot be is refused, and the one before goes on."""
        player = await asyncio.to_thread(self._next)
        if player is not None:
            self._decider.player = player
            _log.info("policy %s decides from now on", player.version)

    def _next(self) -> Player | None:
        """What is new."""
        try:
            version, _ = self.store.current()
            found = version, self.store.published_s(version)
            if not version or found == self._seen:
                return None
            self._seen = found
            player = Player(self.store.read(version), *found, agent=self._agent)
            self._check(player)
        except Exception as error:  # whatever a broken file may raise, looking goes on
            if str(error) != self.why:
                _log.warning("a policy is refused: %s", error)
                self.refused, self.why = self.refused + 1, str(error)
            return None
        self.why = ""
        return player
