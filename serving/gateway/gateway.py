"""All that a gateway is made of, without HTTP on the callers' side."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

from marlserve.envs.replica_routing.config import Config
from marlserve.envs.replica_routing.observation import features
from marlserve.serving.decisions.decider import Decider
from marlserve.serving.decisions.decision import Settings
from marlserve.serving.decisions.guard import Guard, Limits
from marlserve.serving.decisions.heuristics import Heuristic
from marlserve.serving.decisions.modes import Mode
from marlserve.serving.decisions.player import Player, warm_up
from marlserve.serving.experience.events import new_ids
from marlserve.serving.experience.log import ExperienceLog
from marlserve.serving.experience.stream import Delivery
from marlserve.serving.gateway.address import Addresses
from marlserve.serving.gateway.attempts import Attempts
from marlserve.serving.gateway.fleet import Fleet
from marlserve.serving.gateway.forwarding import Forwarding
from marlserve.serving.gateway.measures import Measures
from marlserve.serving.gateway.settings import GatewaySettings, Tokens
from marlserve.serving.gateway.watching import Watching
from marlserve.serving.policy_store import PolicyStore
from marlserve.serving.service.policies import Policies

_LOOK_S = 0.5  # between two looks at the folder of policies


class Gateway:
    """See the module.

    Args:
        redis_url: of the Redis that the log is delivered to; "": to none.

    Attributes:
        log, policies, delivery: None where the settings have none.

    Raises:
        ValueError: for replicas that are no URLs, if a file or a folder cannot be made, and if
            there is no log to deliver.
    """

    def __init__(
        self,
        settings: GatewaySettings,
        tokens: Tokens | None = None,
        seed: int | None = None,
        redis_url: str = "",
    ):
        self.settings, self.tokens = settings, tokens or Tokens()
        self.addresses = Addresses()
        self.fleet = Fleet(
            tuple(self.addresses[url].url for url in settings.replicas),
            settings.speeds,
            settings.cache_tokens,
            settings.gateway,
            settings.num_gateways,
        )
        self.guard = Guard(Limits())
        self.decider = Decider(
            Settings(
                Mode(settings.mode, settings.share),
                epsilon=settings.exploration,
                most_epsilon=settings.exploration,
                oldest_policy_s=settings.oldest_policy_s,
            ),
            self.guard,
            new_ids(),
            Heuristic(settings.heuristic),
            seed,
        )
        self.log, self.delivery, self.policies = None, None, None
        if settings.log is not None:
            self.log = ExperienceLog(settings.log, is_delivered=bool(redis_url))
        if redis_url:
            if self.log is None:
                raise ValueError("there is no log, whose events Redis is for; --log names its file")
            self.delivery = Delivery(self.log.path, redis_url)
        if settings.models is not None:
            store, agent = PolicyStore(settings.models), f"gateway_{settings.gateway}"
            self.policies = Policies(
                store, self.decider, partial(check_policy, settings.config), agent
            )
        self.measures = Measures()
        self.attempts = Attempts(self.fleet, self.decider, settings.config, self.measures, self.log)
        self.forwarding = Forwarding(self.attempts, self.addresses, settings, self.tokens)
        self.watching = Watching(self.attempts, self.addresses, settings.scrape_s)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """With all that runs beside requests."""
        beside: list[Coroutine[Any, Any, None]] = [self.watching.go_on()]
        if self.policies is not None:
            warm_up()
            await self.policies.look()
            beside.append(self.policies.watch(_LOOK_S))
        await self.watching.look()
        tasks = [asyncio.create_task(each) for each in beside]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self.addresses.keep(())
            if self.log is not None:
                await asyncio.to_thread(self.log.close)
            if self.delivery is not None:
                await asyncio.to_thread(self.delivery.close)


def check_policy(config: Config, player: Player) -> None:
    """A policy must read what the routing problem shows, with this Config.

    Raises:
        ValueError: if it does not.
    """
    names = tuple(name for name, _ in player.features)
    shown = features(config)
    shape = (player.num_replicas, len(shown))
    if player.shape != shape or names not in ((), shown):
        raise ValueError(
            f"policy {player.version} reads {names or 'numbers'} of shape {player.shape}; expected "
            f"is what envs.replica_routing shows, of shape {shape}"
        )
