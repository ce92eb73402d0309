"""What is answered to clients: `Trainer` of trainer.proto.

Nothing that they send is trusted: a call without the token gets nothing, a fragment that is not
what the contract says is refused by itself, and the others of the same push are taken.
"""

import asyncio
import time
from collections import OrderedDict
from collections.abc import AsyncIterator
from typing import Any

import grpc

from marlserve.serving.trainer.intake import Client, Intake
from marlserve.serving.wire import channels, trainer_pb2_grpc
from marlserve.serving.wire import trainer_pb2 as pb
from marlserve.serving.wire.contract import PROTOCOL
from marlserve.serving.wire.program import Program

MOST_CLIENTS = 10_000  # sessions; who was silent longest is forgotten, and says hello again
_LONGEST_NAME = 200


class Clients(trainer_pb2_grpc.TrainerServicer):
    """See the module.

    Args:
        intakes: by the name of the policy; others may add to it.
        run: of this trainer.
        token: that calls must show; "": none.
        most_steps_per_s: that a session may send.
    """

    def __init__(self, intakes: dict[str, Intake], run: str, token: str, most_steps_per_s: float):
        self._intakes, self._run, self._token = intakes, run, token
        self._most_steps_per_s = most_steps_per_s
        self.sessions: OrderedDict[tuple[str, str], Client] = OrderedDict()
        self.refused_calls = 0
        self.own: dict[str, Program] = {}  # policies of which each client has one of its own
        self.asleep: set[str] = set()  # policies that nobody learns for now
        self.asked: set[str] = set()  # those that clients have asked for since they slept

    async def Hello(self, request: pb.HelloRequest, context: Any) -> pb.Welcome:
        await self._let_in(context)
        if request.protocol != PROTOCOL:
            said = f"protocol is {request.protocol}; this trainer speaks {PROTOCOL}"
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, said)
        for name in (request.client_id, request.session):
            if not 0 < len(name) <= _LONGEST_NAME:
                said = f"client_id and session have 1 to {_LONGEST_NAME} letters, not {len(name)}"
                await context.abort(grpc.StatusCode.INVALID_ARGUMENT, said)
        policy = await self._policy_of(request, context)
        intake = await self._intake(policy, context)
        contract = intake.contract
        if request.spaces_hash not in ("", contract.spaces_hash):
            said = (
                f"policy {request.policy!r} is for {list(contract.seats.items())}; the client "
                "expects other spaces"
            )
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, said)
        key = request.client_id, request.session
        self.sessions.setdefault(key, Client(policy)).policy = policy
        while len(self.sessions) > MOST_CLIENTS:
            self.sessions.popitem(last=False)
        intake.shares.note(key)
        share_steps = intake.shares.steps
        return pb.Welcome(contract=contract.message(), run=self._run, share_steps=share_steps)

    async def Push(self, request: pb.PushRequest, context: Any) -> pb.Receipt:
        await self._let_in(context)
        key = request.client_id, request.session
        if key not in self.sessions:
            await context.abort(grpc.StatusCode.FAILED_PRECONDITION, "say hello first")
        client = self.sessions[key]
        self.sessions.move_to_end(key)
        client.report, client.heard_s = request.report, time.monotonic()
        intake = await self._intake(client.policy, context)
        if request.fragments:
            intake.shares.note(key)
        refusals = []
        for fragment in request.fragments:
            fragment.session = f"{request.client_id}/{request.session}"
            refusal = await self._taken(client, intake, fragment)
            if refusal is not None:
                refusals.append(refusal)
        share_steps = intake.shares.steps
        return pb.Receipt(through=client.through, refusals=refusals, share_steps=share_steps)

    async def _taken(
        self, client: Client, intake: Intake, fragment: pb.Fragment
    ) -> pb.Refusal | None:
        """Queue a fragment; else why not."""
        number, steps = fragment.number, None
        if number <= client.through:
            intake.dropped["duplicate"] += _claimed(fragment, intake.contract.most_steps)
            return None
        what = ""
        try:
            steps = intake.contract.steps_of(fragment)
        except ValueError as error:
            reason, what = "invalid", str(error)
        else:
            if client.is_within(len(steps), self._most_steps_per_s):
                reason = await intake.put(fragment, steps)
            else:
                reason = "too_fast"
        if steps is None or reason == "too_fast":
            lost = _claimed(fragment, intake.contract.most_steps)
            intake.received += lost
            intake.dropped[reason] += lost
        client.through = number
        return pb.Refusal(number=number, reason=reason, what=what) if reason else None

    async def Policies(
        self, request: pb.PoliciesRequest, context: Any
    ) -> AsyncIterator[pb.PolicyPart]:
        await self._let_in(context)
        intake = await self._intake(await self._policy_of(request, context), context)
        have = request.have_version if request.run == self._run else 0
        while True:
            published, changes = await intake.newer(have)
            since = 0 if changes is None else have
            for part in published.parts(since, changes or b""):
                yield part
            have = published.version

    async def _policy_of(self, request: pb.HelloRequest | pb.PoliciesRequest, context: Any) -> str:
        """The name of what it wants: the policy, or this client's own."""
        program = self.own.get(request.policy)
        if program is None:
            return request.policy
        try:
            policy = program.of_client(request.client_id).client_id
        except ValueError as error:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
        known = {*self._intakes, *self.asked}
        if policy not in known:
            others = sum(each.startswith(f"{request.policy}/") for each in known)
            if others >= program.most_learners:
                said = f"{others} clients have learners for {request.policy!r}, which are all"
                await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, said)
            self.asleep.add(policy)
        return policy

    async def _intake(self, policy: str, context: Any) -> Intake:
        intake = self._intakes.get(policy)
        if intake is None and policy in self.asleep:
            self.asked.add(policy)
            said = f"whoever learns {policy!r} is being started"
            await context.abort(grpc.StatusCode.UNAVAILABLE, said)
        if intake is None:
            said = (
                f"there is no policy {policy[:_LONGEST_NAME]!r}; there are {sorted(self._intakes)}"
            )
            await context.abort(grpc.StatusCode.NOT_FOUND, said)
        return intake  # type: ignore[return-value]

    async def _let_in(self, context: Any) -> None:
        """Go no further without the token."""
        if not channels.shows(context.invocation_metadata(), self._token):
            self.refused_calls += 1
            await asyncio.sleep(0.05)  # guessing takes time
            await context.abort(grpc.StatusCode.UNAUTHENTICATED, "the token is missing or wrong")


def _claimed(fragment: pb.Fragment, most: int) -> int:
    """How many steps a fragment says that it has, within reason."""
    return min(max([1, *fragment.versions.shape[:1]]), most)
