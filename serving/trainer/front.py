"""The front of a trainer: where clients and learners meet, in a thread of its own.

    with Front(FrontSettings(address="127.0.0.1:50051")) as front:
        front.address                # of the clients; port 0 takes a free one
        front.learner_config         # what an `ExternalEnvRunner` is told, as env_config

It needs neither torch nor Ray: it takes fragments in, hands them out, and passes policies on, and
goes on doing so while a learner computes, or is away.
"""

import asyncio
import os
import secrets
import threading
from concurrent.futures import Future
from dataclasses import dataclass, field
from math import inf
from typing import Any

import grpc

from marlserve.envs import checks
from marlserve.serving.trainer.clients import Clients
from marlserve.serving.trainer.intake import Intake
from marlserve.serving.trainer.learners import Learners
from marlserve.serving.wire import channels, trainer_pb2_grpc

ENVIRONMENT = "MARLSERVE_FRONT"  # the variable that tells a learner its `learner_config`, as JSON
UNFIT = os.EX_CONFIG  # how a learner ends whose program's file asks for what cannot work
LEARNER_BYTES = 512 * 1024**2  # of a message of a learner, which nobody else can send
_GRACE_S = 1.0


@dataclass(frozen=True)
class FrontSettings:
    """Where a front listens, and to whom.

    Attributes:
        address: host and port; port 0: any free one.
        token: that clients must show; needed beyond loopback.
        certificate, key: files, PEM, for TLS.
        most_steps_per_s: that a session may send.
        most_message_bytes: of a client.

    Raises:
        ValueError: on construction, naming the field, its value and what is allowed.
    """

    address: str = "127.0.0.1:50051"
    token: str = field(default="", repr=False)
    certificate: str = ""
    key: str = ""
    most_steps_per_s: float = 1e6
    most_message_bytes: int = channels.MOST_BYTES

    def __post_init__(self) -> None:
        host, _, port = self.address.rpartition(":")
        good = bool(host) and port.isdecimal() and int(port) < 65_536
        checks.require(self, "address", good, "host:port, such as 127.0.0.1:50051")
        if not channels.is_loopback(self.address) and not self.token:
            raise ValueError(
                f"address is {self.address!r}; beyond {channels.LOOPBACK} a token must be set"
            )
        checks.number(self, "most_steps_per_s", 1e-3, 1e12)
        checks.whole(self, "most_message_bytes", 1_024, 1024**3)


class Front:
    """See the module.

    Attributes:
        address: of the clients.
        intakes: {policy: what was sent for it}.

    Raises:
        ValueError: when it is entered, if the address cannot be had or TLS is not complete.
    """

    def __init__(self, settings: FrontSettings):
        self.settings = settings
        self.address = settings.address
        self.run = secrets.token_hex(8)
        self.intakes: dict[str, Intake] = {}
        self._secret = secrets.token_hex(16)
        self._learner_address = ""
        self.clients = Clients(self.intakes, self.run, settings.token, settings.most_steps_per_s)
        self._loop = asyncio.new_event_loop()
        self._ended = asyncio.Event()

    @property
    def learner_config(self) -> dict[str, Any]:
        """How a learner finds this front."""
        return {"address": self._learner_address, "secret": self._secret}

    def heard_s(self, policy: str) -> float:
        """When a client that uses this policy last said something, by the monotonic clock."""
        sessions = list(self.clients.sessions.values())
        return max((each.heard_s for each in sessions if each.policy == policy), default=-inf)

    def evict(self, policy: str) -> None:
        """Forget a policy that nobody uses, and who used it; `clients.asked` says who wants it."""
        asyncio.run_coroutine_threadsafe(self._evict(policy), self._loop).result()

    async def _evict(self, policy: str) -> None:
        self.intakes.pop(policy, None)
        sessions = self.clients.sessions
        for key in [key for key, each in sessions.items() if each.policy == policy]:
            del sessions[key]
        self.clients.asked.discard(policy)
        if policy.rpartition("/")[0] in self.clients.own:
            self.clients.asleep.discard(policy)
        else:
            self.clients.asleep.add(policy)

    def __enter__(self) -> "Front":
        started: Future[None] = Future()
        self._thread = threading.Thread(target=self._serve, args=(started,), daemon=True)
        self._thread.start()
        started.result()
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._ended.set)
        self._thread.join()

    def _serve(self, started: "Future[None]") -> None:
        try:
            self._loop.run_until_complete(self._run(started))
        except Exception as error:
            if started.done():
                raise
            started.set_exception(error)
        finally:
            self._loop.close()

    async def _run(self, started: "Future[None]") -> None:
        settings = self.settings
        credentials = channels.server_credentials(settings.certificate, settings.key)
        outer = grpc.aio.server(options=channels.options(settings.most_message_bytes))
        inner = grpc.aio.server(options=channels.options(LEARNER_BYTES))
        trainer_pb2_grpc.add_TrainerServicer_to_server(self.clients, outer)
        learners = Learners(self.intakes, self.run, self._secret)
        trainer_pb2_grpc.add_LearningServicer_to_server(learners, inner)
        try:
            if credentials is None:
                port = outer.add_insecure_port(settings.address)
            else:
                port = outer.add_secure_port(settings.address, credentials)
            inner_port = inner.add_insecure_port("127.0.0.1:0")
        except RuntimeError as error:
            raise ValueError(f"{settings.address} cannot be listened on: {error}") from error
        self.address = f"{settings.address.rpartition(':')[0]}:{port}"
        self._learner_address = f"127.0.0.1:{inner_port}"
        await outer.start()
        await inner.start()
        started.set_result(None)
        await self._ended.wait()
        await asyncio.gather(outer.stop(_GRACE_S), inner.stop(_GRACE_S))
