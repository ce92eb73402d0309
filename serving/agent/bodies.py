"""What the routes take and give, as JSON. What is not listed, or no finite number, is refused."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, model_validator

from marlserve.serving.replica_state import LEAST_LOADS, MOST, MOST_REPLICAS

MOST_AT_ONCE = 256  # requests in a batch
Amount = Annotated[float, Field(ge=0.0, le=MOST)]
Share = Annotated[float, Field(ge=0.0, le=1.0)]
Loads = Annotated[list[Amount], Field(min_length=1, max_length=MOST_REPLICAS)]
Text = Annotated[str, Field(max_length=256)]


class Body(BaseModel):
    """Of any request."""

    model_config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False, frozen=True)


class Select(Body):
    """What is known of the system and of a request that is to be sent."""

    replica_loads: Loads
    queue_depth: Amount
    recent_latency_ms: Amount
    current_rps: Amount
    success_rate: Share = 1.0
    memory: Share = 0.5
    cpu: Share = 0.4
    time_of_day: Share | None = None  # None: now
    session: Text = ""
    unavailable: Annotated[tuple[int, ...], Field(max_length=MOST_REPLICAS)] = ()
    deadline_ms: Annotated[float, Field(gt=0.0, le=60_000.0)] | None = None

    @model_validator(mode="after")
    def _replicas_are_there(self) -> "Select":
        for replica in self.unavailable:
            if not 0 <= replica < len(self.replica_loads):
                raise ValueError(f"unavailable has {replica}, which is no replica")
        return self


class SelectBatch(Body):
    """Several, decided on one after another."""

    requests: Annotated[list[Select], Field(min_length=1, max_length=MOST_AT_ONCE)]


class Selection(BaseModel):
    """A decision."""

    replica_idx: int
    replica_name: str
    confidence: float  # the chance that this replica had
    exploration: bool  # it is not the one that the policy thinks best
    decision_id: str  # to be sent with what came of it
    state: list[float]  # what the decision went by; empty if too little is known
    reason: str  # who decided, and why
    version: str  # of the policy that decided, or was asked in shadow mode


class SelectionBatch(BaseModel):
    """In the order of the requests."""

    decisions: list[Selection]


class Record(Body):
    """What came of a request: of a decision by its id, or else of a state and an action."""

    decision_id: Text = ""
    state: Annotated[list[float], Field(max_length=MOST_REPLICAS + LEAST_LOADS + 7)] | None = None
    action: Annotated[int, Field(ge=0, lt=MOST_REPLICAS)] | None = None
    latency_ms: Amount
    success: bool
    replica_loads: Loads

    @model_validator(mode="after")
    def _either_way(self) -> "Record":
        if not self.decision_id and (self.state is None or self.action is None):
            raise ValueError("without a decision_id, it needs state and action")
        return self


class RecordBatch(Body):
    """Several."""

    experiences: Annotated[list[Record], Field(min_length=1, max_length=MOST_AT_ONCE)]


class Recorded(BaseModel):
    """`status` is "recorded", "duplicate", or in a batch "unknown" or "refused" with why."""

    status: str
    reward: float | None
    detail: str = ""


class RecordedBatch(BaseModel):
    """In the order of the experiences."""

    results: list[Recorded]


class Trained(BaseModel):
    """`loss` is the mean over the iterations; null if there were too few experiences."""

    loss: float | None
    epsilon: float
    buffer_size: int
    steps_done: int


class Stats(BaseModel):
    """Of the service."""

    epsilon: float
    steps_done: int
    buffer_size: int
    avg_recent_reward: float | None
    device: str
    model_path: str
    num_replicas: int
    mode: str
    version: str
    guard: str
    decisions: int
    outcomes: int
