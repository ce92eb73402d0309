"""The version of the policy that is played: looked for on disk, swapped between decisions."""

import asyncio
import logging

from marlserve.serving.decisions.decider import Decider
from marlserve.serving.decisions.player import Player
from marlserve.serving.policy_store import PolicyStore
from marlserve.serving.replica_state import features

_log = logging.getLogger(__name__)


class Policies:
    """Gives the decider what the store serves.

    Attributes:
        refused: how often a version was not taken, since it is broken or for something else.
        why: it was not the last time; "" if it was.
    """

    def __init__(self, store: PolicyStore, decider: Decider, num_replicas: int):
        self.store, self._decider = store, decider
        self._features = features(num_replicas)
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
            player = Player(self.store.read(version), *found)
            if player.features != self._features:
                raise ValueError(
                    f"policy {version} reads {[name for name, _ in player.features]}; expected are "
                    f"{[name for name, _ in self._features]}"
                )
        except Exception as error:  # whatever a broken file may raise, looking goes on
            if str(error) != self.why:
                _log.warning("a policy is refused: %s", error)
                self.refused, self.why = self.refused + 1, str(error)
            return None
        self.why = ""
        return player
