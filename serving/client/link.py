"""The threads that speak with the trainer: one sends what waits, one receives policies.

The program is never in them. A trainer that is away is tried again after 0.1 s, then twice as long
each time up to 5 s; what is sent twice, since an answer was lost, is learned from once.
"""

import logging
import threading
import time
from collections.abc import Callable
from functools import partial
from math import inf
from random import uniform
from secrets import token_hex

import grpc

from marlserve.serving.client.outbox import Outbox
from marlserve.serving.client.playing import Playing
from marlserve.serving.client.settings import ClientSettings
from marlserve.serving.wire import channels, trainer_pb2_grpc
from marlserve.serving.wire import trainer_pb2 as pb
from marlserve.serving.wire.contract import PROTOCOL, Contract
from marlserve.serving.wire.policy_parts import Assembly

_FIRST_S, _LONGEST_S = 0.1, 5.0  # between two tries
_CALL_S = 30.0  # a push waits that long for room in the queue, then it is tried again
_PUSH_BYTES = channels.MOST_BYTES // 4  # unless a single fragment has more
_REPORT_S = 2.0  # without anything to send
_REFUSED = (grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.INVALID_ARGUMENT)
_logger = logging.getLogger(__name__)


class Link:
    """See the module.

    Args:
        report: what is told of the client.

    Attributes:
        contract: None until the trainer has said it.
        newest: the newest policy; None until there is one.
        sent: steps that the trainer has taken.
        trouble: why the trainer cannot be reached; "" while it can.
        refused: what the trainer said of fragments that it did not take.
    """

    def __init__(self, settings: ClientSettings, outbox: Outbox, report: Callable[[], pb.Report]):
        self._settings, self._outbox, self._report = settings, outbox, report
        self._client_id = settings.client_id or settings.policy
        self._session = token_hex(8)
        self.contract: Contract | None = None
        self.newest: Playing | None = None
        self._assembly = Assembly()
        self.sent, self.trouble, self.refused = 0, "", ""
        self.has_policy = threading.Event()
        self._run, self._number = "", 0
        self._channel = channels.channel(settings.address, settings.ca)
        self._stub = trainer_pb2_grpc.TrainerStub(self._channel)
        self._metadata = tuple(channels.bearing(settings.token))
        self._hello = threading.Lock()
        self._closing = threading.Event()
        self._give_up_s = inf
        self._sender = threading.Thread(target=self._send, daemon=True)
        self._receiver = threading.Thread(target=self._receive, daemon=True)
        self._sender.start()
        self._receiver.start()

    def close(self, timeout_s: float) -> None:
        """Send what waits, for so long at most, and hang up."""
        self._give_up_s = time.monotonic() + timeout_s
        self._closing.set()
        self._outbox.close()
        self._sender.join(timeout_s)
        self._channel.close()  # what is under way ends
        self._sender.join(_LONGEST_S)
        self._receiver.join(_LONGEST_S)
        self._outbox.give_up()

    def _send(self) -> None:
        while self._patiently(self._say_hello, flushes=True):
            assert self.contract is not None
            fragments = self._outbox.take(_REPORT_S, self.contract)
            if not fragments and self._closing.is_set():
                return
            fragments = [fragment for fragment in fragments if self._is_fresh(fragment)]
            for fragment in fragments:
                self._number += 1
                fragment.number = self._number
            for portion in _portions(fragments):
                if not self._patiently(partial(self._push, portion), flushes=True):
                    self._outbox.lost["unsent"] += sum(map(_steps, portion))

    def _push(self, fragments: list[pb.Fragment]) -> None:
        """Hand these fragments over."""
        request = pb.PushRequest(
            client_id=self._client_id,
            session=self._session,
            fragments=fragments,
            report=self._report(),
        )
        timeout_s = min(_CALL_S, max(self._give_up_s - time.monotonic(), 0.1))
        try:
            receipt = self._stub.Push(request, timeout=timeout_s, metadata=self._metadata)
        except grpc.RpcError as error:
            if error.code() == grpc.StatusCode.FAILED_PRECONDITION:
                self._run = ""  # the trainer was started anew
                self._say_hello()
            elif error.code() in _REFUSED:
                self._refused(fragments, "refused", error.details())
                return
            raise
        self._outbox.share(receipt.share_steps)
        refusals = {refusal.number: refusal for refusal in receipt.refusals}
        for fragment in fragments:
            refusal = refusals.get(fragment.number)
            if refusal is None:
                self.sent += _steps(fragment)
            else:
                self._refused([fragment], refusal.reason, refusal.what or refusal.reason)

    def _refused(self, fragments: list[pb.Fragment], reason: str, what: str) -> None:
        reason = reason if reason in ("stale", "other_run") else "refused"
        self._outbox.lost[reason] += sum(map(_steps, fragments))
        if reason == "refused" and what != self.refused:
            self.refused = what
            _logger.warning("the trainer at %s refuses: %s", self._settings.address, what)

    def _receive(self) -> None:
        while self._patiently(self._say_hello, flushes=False):
            if not self._patiently(self._listen, flushes=False):
                return

    def _listen(self) -> None:
        """Take policies as they come, until the line breaks."""
        latest = self._assembly.latest
        request = pb.PoliciesRequest(
            client_id=self._client_id,
            session=self._session,
            policy=self._settings.policy,
            run="" if latest is None else latest.run,
            have_version=0 if latest is None else latest.version,
        )
        try:
            for part in self._stub.Policies(request, metadata=self._metadata):
                published = self._assembly.add(part)
                if published is not None:
                    self.newest = Playing(published, self._settings.evaluator)
                    self.has_policy.set()
        except ValueError:
            self._assembly = Assembly()  # what is broken is asked for anew, and whole
            raise

    def _say_hello(self) -> None:
        with self._hello:
            if self._run:
                return
            request = pb.HelloRequest(
                protocol=PROTOCOL,
                client_id=self._client_id,
                session=self._session,
                policy=self._settings.policy,
                spaces_hash="" if self.contract is None else self.contract.spaces_hash,
            )
            welcome = self._stub.Hello(request, timeout=_CALL_S, metadata=self._metadata)
            self.contract, self._run = Contract.of(welcome.contract), welcome.run
            self._outbox.hold(self.contract)
            self._outbox.share(welcome.share_steps)

    def _patiently(self, call: Callable[[], None], flushes: bool) -> bool:
        """Do it, again and again until it is done; false if there is no more time.

        Args:
            flushes: whether there is until the end of `close`, not only until its beginning.
        """
        wait_s = _FIRST_S
        while not self._is_over(flushes):
            started_s = time.monotonic()
            try:
                call()
                self.trouble = ""
                return True
            except grpc.RpcError as error:
                self._complain(f"{error.code().name}: {error.details()}")
            except ValueError as error:
                self._complain(str(error))
            if time.monotonic() - started_s > _LONGEST_S:
                wait_s = _FIRST_S  # it went well for a while
            if self._is_over(flushes):
                break
            if self._closing.is_set():
                time.sleep(_FIRST_S)
            else:
                self._closing.wait(uniform(0.5, 1.0) * wait_s)
            wait_s = min(2.0 * wait_s, _LONGEST_S)
        return False

    def _is_over(self, flushes: bool) -> bool:
        if not self._closing.is_set():
            return False
        return not flushes or time.monotonic() >= self._give_up_s

    def _complain(self, trouble: str) -> None:
        """Once, not with every try."""
        if trouble != self.trouble and not self._closing.is_set():
            _logger.warning("the trainer at %s: %s", self._settings.address, trouble)
        self.trouble = trouble

    def _is_fresh(self, fragment: pb.Fragment) -> bool:
        """Whether it can still be learned from, as far as is known here."""
        assert self.contract is not None
        newest, most = self.newest, self.contract.most_staleness
        if newest is None or most == inf:
            return True
        reason = ""
        if fragment.run != newest.run:
            reason = "other_run"
        elif newest.version - _version(fragment) > most:
            reason = "stale"
        if reason:
            self._outbox.lost[reason] += _steps(fragment)
        return not reason


def _portions(fragments: list[pb.Fragment]) -> list[list[pb.Fragment]]:
    """Pushes that are not too large; a single one, of nothing, if there is nothing to be sent."""
    portions: list[list[pb.Fragment]] = [[]]
    size = 0
    for fragment in fragments:
        size += fragment.ByteSize()
        if size > _PUSH_BYTES and portions[-1]:
            portions.append([])
            size = fragment.ByteSize()
        portions[-1].append(fragment)
    return portions


def _steps(fragment: pb.Fragment) -> int:
    return fragment.versions.shape[0]


def _version(fragment: pb.Fragment) -> int:
    """The first one."""
    return int.from_bytes(fragment.versions.data[:8], "little")
