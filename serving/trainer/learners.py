"""What is answered to the processes that learn: `Learning` of trainer.proto."""

from typing import Any

import grpc

from marlserve.serving.trainer.intake import Intake
from marlserve.serving.wire import channels, trainer_pb2_grpc
from marlserve.serving.wire import trainer_pb2 as pb
from marlserve.serving.wire.contract import Contract

_LONGEST_S = 60.0


class Learners(trainer_pb2_grpc.LearningServicer):
    """See the module.

    Args:
        intakes: by the name of the policy; offers are added.
        run: of this trainer.
        secret: that calls must show.
    """

    def __init__(self, intakes: dict[str, Intake], run: str, secret: str):
        self._intakes, self._run, self._secret = intakes, run, secret

    async def Offer(self, request: pb.Contract, context: Any) -> pb.OfferReply:
        """A learner that starts again finds its queue as it was, if its contract is the same."""
        await self._let_in(context)
        try:
            contract = Contract.of(request)
        except ValueError as error:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
        known = self._intakes.get(request.policy)
        if known is None or known.contract.message() != request:
            self._intakes[request.policy] = Intake(contract, self._run)
        return pb.OfferReply(run=self._run)

    async def Publish(self, request: pb.Policy, context: Any) -> pb.PublishReply:
        await self._let_in(context)
        intake = await self._intake(request.policy, context)
        return pb.PublishReply(version=await intake.publish(request))

    async def Take(self, request: pb.TakeRequest, context: Any) -> pb.TakeReply:
        await self._let_in(context)
        intake = await self._intake(request.policy, context)
        fragments = await intake.take(request.steps, min(request.timeout_s, _LONGEST_S))
        return pb.TakeReply(fragments=fragments, newest_version=intake.newest_version)

    async def _intake(self, policy: str, context: Any) -> Intake:
        if policy not in self._intakes:
            await context.abort(grpc.StatusCode.FAILED_PRECONDITION, f"offer {policy!r} first")
        return self._intakes[policy]

    async def _let_in(self, context: Any) -> None:
        if not channels.shows(context.invocation_metadata(), self._secret):
            await context.abort(grpc.StatusCode.UNAUTHENTICATED, "the secret is missing or wrong")
