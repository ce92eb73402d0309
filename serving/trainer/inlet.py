"""How one who learns reaches the front: offers a contract, takes steps, publishes policies.

    inlet = Inlet(address, secret, contract)
    steps = inlet.take(2_000, timeout_s=1.0)     # [Steps], at least so many, or what there is
    version = inlet.publish(policy_file, epsilon=0.0)

If the front was started anew, the contract is offered again, and what was published last as well.
"""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import grpc

from marlserve.policies.export import file
from marlserve.policies.export.network import PolicyFile
from marlserve.policies.export.noise import Noise
from marlserve.serving.trainer.front import LEARNER_BYTES
from marlserve.serving.wire import channels, trainer_pb2_grpc
from marlserve.serving.wire import trainer_pb2 as pb
from marlserve.serving.wire.contract import Contract
from marlserve.serving.wire.policy_parts import noise_messages
from marlserve.serving.wire.steps import Steps

_PATIENCE_S = 30.0  # for a front that is away
T = TypeVar("T")


class Inlet:
    """See the module.

    Raises:
        ConnectionError: by all methods, if the front cannot be reached for 30 s, or refuses.
    """

    def __init__(self, address: str, secret: str, contract: Contract):
        self.contract = contract
        self._channel = channels.channel(address, most_bytes=LEARNER_BYTES)
        self._stub = trainer_pb2_grpc.LearningStub(self._channel)
        self._metadata = tuple(channels.bearing(secret))
        self._published: pb.Policy | None = None
        self.newest_version = 0
        self._offer()

    def take(self, steps: int, timeout_s: float) -> list[Steps]:
        """Steps that are at least so many, or what there is after this time."""
        request = pb.TakeRequest(policy=self.contract.policy, steps=steps, timeout_s=timeout_s)
        reply = self._called(self._stub.Take, request, timeout_s + _PATIENCE_S)
        self.newest_version = reply.newest_version
        return [self.contract.steps_of(fragment) for fragment in reply.fragments]

    def publish(
        self, policy: PolicyFile, epsilon: float, noises: Mapping[str, Noise] | None = None
    ) -> int:
        """Hand a policy to all clients, and how they explore; its version."""
        manifest, weights = file.encoded(policy)
        self._published = pb.Policy(
            policy=self.contract.policy,
            manifest=manifest,
            weights=weights,
            epsilon=epsilon,
            noises=noise_messages(noises or {}),
        )
        reply = self._called(self._stub.Publish, self._published, _PATIENCE_S)
        self.newest_version = reply.version
        return reply.version

    def close(self) -> None:
        """Hang up."""
        self._channel.close()

    def _offer(self) -> None:
        self._tried(self._stub.Offer, self.contract.message(), _PATIENCE_S)

    def _called(self, call: Callable[..., T], request: Any, timeout_s: float) -> T:
        try:
            return self._tried(call, request, timeout_s)
        except ConnectionError as error:
            cause = error.__cause__
            if not isinstance(cause, grpc.Call) or (
                cause.code() != grpc.StatusCode.FAILED_PRECONDITION
            ):
                raise
        self._offer()
        if self._published is not None and request is not self._published:
            self._tried(self._stub.Publish, self._published, _PATIENCE_S)
        return self._tried(call, request, timeout_s)

    def _tried(self, call: Callable[..., T], request: Any, timeout_s: float) -> T:
        try:
            return call(request, timeout=timeout_s, metadata=self._metadata, wait_for_ready=True)
        except grpc.RpcError as error:
            raise ConnectionError(f"the front of the trainer: {error}") from error
