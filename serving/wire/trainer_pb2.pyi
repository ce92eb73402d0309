from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class DType(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    DTYPE_UNSPECIFIED: _ClassVar[DType]
    FLOAT32: _ClassVar[DType]
    FLOAT64: _ClassVar[DType]
    INT8: _ClassVar[DType]
    INT16: _ClassVar[DType]
    INT32: _ClassVar[DType]
    INT64: _ClassVar[DType]
    UINT8: _ClassVar[DType]
    UINT16: _ClassVar[DType]

class Ending(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    GOES_ON: _ClassVar[Ending]
    TERMINATED: _ClassVar[Ending]
    TRUNCATED: _ClassVar[Ending]
DTYPE_UNSPECIFIED: DType
FLOAT32: DType
FLOAT64: DType
INT8: DType
INT16: DType
INT32: DType
INT64: DType
UINT8: DType
UINT16: DType
GOES_ON: Ending
TERMINATED: Ending
TRUNCATED: Ending

class Array(_message.Message):
    __slots__ = ("dtype", "shape", "data")
    DTYPE_FIELD_NUMBER: _ClassVar[int]
    SHAPE_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    dtype: DType
    shape: _containers.RepeatedScalarFieldContainer[int]
    data: bytes
    def __init__(self, dtype: _Optional[_Union[DType, str]] = ..., shape: _Optional[_Iterable[int]] = ..., data: _Optional[bytes] = ...) -> None: ...

class Fragment(_message.Message):
    __slots__ = ("number", "agent", "episode", "first_step", "ending", "run", "versions", "times_s", "states", "parts", "session")
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    AGENT_FIELD_NUMBER: _ClassVar[int]
    EPISODE_FIELD_NUMBER: _ClassVar[int]
    FIRST_STEP_FIELD_NUMBER: _ClassVar[int]
    ENDING_FIELD_NUMBER: _ClassVar[int]
    RUN_FIELD_NUMBER: _ClassVar[int]
    VERSIONS_FIELD_NUMBER: _ClassVar[int]
    TIMES_S_FIELD_NUMBER: _ClassVar[int]
    STATES_FIELD_NUMBER: _ClassVar[int]
    PARTS_FIELD_NUMBER: _ClassVar[int]
    SESSION_FIELD_NUMBER: _ClassVar[int]
    number: int
    agent: str
    episode: int
    first_step: int
    ending: Ending
    run: str
    versions: Array
    times_s: Array
    states: Array
    parts: _containers.RepeatedCompositeFieldContainer[Part]
    session: str
    def __init__(self, number: _Optional[int] = ..., agent: _Optional[str] = ..., episode: _Optional[int] = ..., first_step: _Optional[int] = ..., ending: _Optional[_Union[Ending, str]] = ..., run: _Optional[str] = ..., versions: _Optional[_Union[Array, _Mapping]] = ..., times_s: _Optional[_Union[Array, _Mapping]] = ..., states: _Optional[_Union[Array, _Mapping]] = ..., parts: _Optional[_Iterable[_Union[Part, _Mapping]]] = ..., session: _Optional[str] = ...) -> None: ...

class Part(_message.Message):
    __slots__ = ("return_before", "observations", "masks", "actions", "rewards", "log_probabilities", "outputs", "memory")
    RETURN_BEFORE_FIELD_NUMBER: _ClassVar[int]
    OBSERVATIONS_FIELD_NUMBER: _ClassVar[int]
    MASKS_FIELD_NUMBER: _ClassVar[int]
    ACTIONS_FIELD_NUMBER: _ClassVar[int]
    REWARDS_FIELD_NUMBER: _ClassVar[int]
    LOG_PROBABILITIES_FIELD_NUMBER: _ClassVar[int]
    OUTPUTS_FIELD_NUMBER: _ClassVar[int]
    MEMORY_FIELD_NUMBER: _ClassVar[int]
    return_before: float
    observations: Array
    masks: Array
    actions: Array
    rewards: Array
    log_probabilities: Array
    outputs: Array
    memory: Array
    def __init__(self, return_before: _Optional[float] = ..., observations: _Optional[_Union[Array, _Mapping]] = ..., masks: _Optional[_Union[Array, _Mapping]] = ..., actions: _Optional[_Union[Array, _Mapping]] = ..., rewards: _Optional[_Union[Array, _Mapping]] = ..., log_probabilities: _Optional[_Union[Array, _Mapping]] = ..., outputs: _Optional[_Union[Array, _Mapping]] = ..., memory: _Optional[_Union[Array, _Mapping]] = ...) -> None: ...

class HelloRequest(_message.Message):
    __slots__ = ("protocol", "client_id", "session", "policy", "spaces_hash")
    PROTOCOL_FIELD_NUMBER: _ClassVar[int]
    CLIENT_ID_FIELD_NUMBER: _ClassVar[int]
    SESSION_FIELD_NUMBER: _ClassVar[int]
    POLICY_FIELD_NUMBER: _ClassVar[int]
    SPACES_HASH_FIELD_NUMBER: _ClassVar[int]
    protocol: int
    client_id: str
    session: str
    policy: str
    spaces_hash: str
    def __init__(self, protocol: _Optional[int] = ..., client_id: _Optional[str] = ..., session: _Optional[str] = ..., policy: _Optional[str] = ..., spaces_hash: _Optional[str] = ...) -> None: ...

class Welcome(_message.Message):
    __slots__ = ("contract", "run", "share_steps")
    CONTRACT_FIELD_NUMBER: _ClassVar[int]
    RUN_FIELD_NUMBER: _ClassVar[int]
    SHARE_STEPS_FIELD_NUMBER: _ClassVar[int]
    contract: Contract
    run: str
    share_steps: int
    def __init__(self, contract: _Optional[_Union[Contract, _Mapping]] = ..., run: _Optional[str] = ..., share_steps: _Optional[int] = ...) -> None: ...

class Contract(_message.Message):
    __slots__ = ("policy", "seats", "state_size", "on_policy", "most_staleness", "any_staleness", "most_steps", "capacity_steps", "columns")
    POLICY_FIELD_NUMBER: _ClassVar[int]
    SEATS_FIELD_NUMBER: _ClassVar[int]
    STATE_SIZE_FIELD_NUMBER: _ClassVar[int]
    ON_POLICY_FIELD_NUMBER: _ClassVar[int]
    MOST_STALENESS_FIELD_NUMBER: _ClassVar[int]
    ANY_STALENESS_FIELD_NUMBER: _ClassVar[int]
    MOST_STEPS_FIELD_NUMBER: _ClassVar[int]
    CAPACITY_STEPS_FIELD_NUMBER: _ClassVar[int]
    COLUMNS_FIELD_NUMBER: _ClassVar[int]
    policy: str
    seats: _containers.RepeatedCompositeFieldContainer[Seat]
    state_size: int
    on_policy: bool
    most_staleness: int
    any_staleness: bool
    most_steps: int
    capacity_steps: int
    columns: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, policy: _Optional[str] = ..., seats: _Optional[_Iterable[_Union[Seat, _Mapping]]] = ..., state_size: _Optional[int] = ..., on_policy: _Optional[bool] = ..., most_staleness: _Optional[int] = ..., any_staleness: _Optional[bool] = ..., most_steps: _Optional[int] = ..., capacity_steps: _Optional[int] = ..., columns: _Optional[_Iterable[str]] = ...) -> None: ...

class Seat(_message.Message):
    __slots__ = ("agent", "observation_space", "action_space", "masked", "memory_size")
    AGENT_FIELD_NUMBER: _ClassVar[int]
    OBSERVATION_SPACE_FIELD_NUMBER: _ClassVar[int]
    ACTION_SPACE_FIELD_NUMBER: _ClassVar[int]
    MASKED_FIELD_NUMBER: _ClassVar[int]
    MEMORY_SIZE_FIELD_NUMBER: _ClassVar[int]
    agent: str
    observation_space: str
    action_space: str
    masked: bool
    memory_size: int
    def __init__(self, agent: _Optional[str] = ..., observation_space: _Optional[str] = ..., action_space: _Optional[str] = ..., masked: _Optional[bool] = ..., memory_size: _Optional[int] = ...) -> None: ...

class OfferReply(_message.Message):
    __slots__ = ("run",)
    RUN_FIELD_NUMBER: _ClassVar[int]
    run: str
    def __init__(self, run: _Optional[str] = ...) -> None: ...

class PushRequest(_message.Message):
    __slots__ = ("client_id", "session", "fragments", "report")
    CLIENT_ID_FIELD_NUMBER: _ClassVar[int]
    SESSION_FIELD_NUMBER: _ClassVar[int]
    FRAGMENTS_FIELD_NUMBER: _ClassVar[int]
    REPORT_FIELD_NUMBER: _ClassVar[int]
    client_id: str
    session: str
    fragments: _containers.RepeatedCompositeFieldContainer[Fragment]
    report: Report
    def __init__(self, client_id: _Optional[str] = ..., session: _Optional[str] = ..., fragments: _Optional[_Iterable[_Union[Fragment, _Mapping]]] = ..., report: _Optional[_Union[Report, _Mapping]] = ...) -> None: ...

class Report(_message.Message):
    __slots__ = ("decisions", "fallbacks", "lost", "decision_mean_us", "decision_p99_us")
    class LostEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    DECISIONS_FIELD_NUMBER: _ClassVar[int]
    FALLBACKS_FIELD_NUMBER: _ClassVar[int]
    LOST_FIELD_NUMBER: _ClassVar[int]
    DECISION_MEAN_US_FIELD_NUMBER: _ClassVar[int]
    DECISION_P99_US_FIELD_NUMBER: _ClassVar[int]
    decisions: int
    fallbacks: int
    lost: _containers.ScalarMap[str, int]
    decision_mean_us: float
    decision_p99_us: float
    def __init__(self, decisions: _Optional[int] = ..., fallbacks: _Optional[int] = ..., lost: _Optional[_Mapping[str, int]] = ..., decision_mean_us: _Optional[float] = ..., decision_p99_us: _Optional[float] = ...) -> None: ...

class Receipt(_message.Message):
    __slots__ = ("through", "refusals", "share_steps")
    THROUGH_FIELD_NUMBER: _ClassVar[int]
    REFUSALS_FIELD_NUMBER: _ClassVar[int]
    SHARE_STEPS_FIELD_NUMBER: _ClassVar[int]
    through: int
    refusals: _containers.RepeatedCompositeFieldContainer[Refusal]
    share_steps: int
    def __init__(self, through: _Optional[int] = ..., refusals: _Optional[_Iterable[_Union[Refusal, _Mapping]]] = ..., share_steps: _Optional[int] = ...) -> None: ...

class Refusal(_message.Message):
    __slots__ = ("number", "reason", "what")
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    WHAT_FIELD_NUMBER: _ClassVar[int]
    number: int
    reason: str
    what: str
    def __init__(self, number: _Optional[int] = ..., reason: _Optional[str] = ..., what: _Optional[str] = ...) -> None: ...

class PoliciesRequest(_message.Message):
    __slots__ = ("client_id", "session", "policy", "run", "have_version")
    CLIENT_ID_FIELD_NUMBER: _ClassVar[int]
    SESSION_FIELD_NUMBER: _ClassVar[int]
    POLICY_FIELD_NUMBER: _ClassVar[int]
    RUN_FIELD_NUMBER: _ClassVar[int]
    HAVE_VERSION_FIELD_NUMBER: _ClassVar[int]
    client_id: str
    session: str
    policy: str
    run: str
    have_version: int
    def __init__(self, client_id: _Optional[str] = ..., session: _Optional[str] = ..., policy: _Optional[str] = ..., run: _Optional[str] = ..., have_version: _Optional[int] = ...) -> None: ...

class PolicyPart(_message.Message):
    __slots__ = ("head", "weights", "is_last")
    HEAD_FIELD_NUMBER: _ClassVar[int]
    WEIGHTS_FIELD_NUMBER: _ClassVar[int]
    IS_LAST_FIELD_NUMBER: _ClassVar[int]
    head: PolicyHead
    weights: bytes
    is_last: bool
    def __init__(self, head: _Optional[_Union[PolicyHead, _Mapping]] = ..., weights: _Optional[bytes] = ..., is_last: _Optional[bool] = ...) -> None: ...

class PolicyHead(_message.Message):
    __slots__ = ("run", "version", "manifest", "epsilon", "noises", "since_version")
    class NoisesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: Noise
        def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[Noise, _Mapping]] = ...) -> None: ...
    RUN_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    MANIFEST_FIELD_NUMBER: _ClassVar[int]
    EPSILON_FIELD_NUMBER: _ClassVar[int]
    NOISES_FIELD_NUMBER: _ClassVar[int]
    SINCE_VERSION_FIELD_NUMBER: _ClassVar[int]
    run: str
    version: int
    manifest: bytes
    epsilon: float
    noises: _containers.MessageMap[str, Noise]
    since_version: int
    def __init__(self, run: _Optional[str] = ..., version: _Optional[int] = ..., manifest: _Optional[bytes] = ..., epsilon: _Optional[float] = ..., noises: _Optional[_Mapping[str, Noise]] = ..., since_version: _Optional[int] = ...) -> None: ...

class Noise(_message.Message):
    __slots__ = ("mean", "log_deviation", "log_deviations", "squash")
    MEAN_FIELD_NUMBER: _ClassVar[int]
    LOG_DEVIATION_FIELD_NUMBER: _ClassVar[int]
    LOG_DEVIATIONS_FIELD_NUMBER: _ClassVar[int]
    SQUASH_FIELD_NUMBER: _ClassVar[int]
    mean: str
    log_deviation: str
    log_deviations: _containers.RepeatedScalarFieldContainer[float]
    squash: str
    def __init__(self, mean: _Optional[str] = ..., log_deviation: _Optional[str] = ..., log_deviations: _Optional[_Iterable[float]] = ..., squash: _Optional[str] = ...) -> None: ...

class Policy(_message.Message):
    __slots__ = ("policy", "manifest", "weights", "epsilon", "noises")
    class NoisesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: Noise
        def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[Noise, _Mapping]] = ...) -> None: ...
    POLICY_FIELD_NUMBER: _ClassVar[int]
    MANIFEST_FIELD_NUMBER: _ClassVar[int]
    WEIGHTS_FIELD_NUMBER: _ClassVar[int]
    EPSILON_FIELD_NUMBER: _ClassVar[int]
    NOISES_FIELD_NUMBER: _ClassVar[int]
    policy: str
    manifest: bytes
    weights: bytes
    epsilon: float
    noises: _containers.MessageMap[str, Noise]
    def __init__(self, policy: _Optional[str] = ..., manifest: _Optional[bytes] = ..., weights: _Optional[bytes] = ..., epsilon: _Optional[float] = ..., noises: _Optional[_Mapping[str, Noise]] = ...) -> None: ...

class PublishReply(_message.Message):
    __slots__ = ("version",)
    VERSION_FIELD_NUMBER: _ClassVar[int]
    version: int
    def __init__(self, version: _Optional[int] = ...) -> None: ...

class TakeRequest(_message.Message):
    __slots__ = ("policy", "steps", "timeout_s")
    POLICY_FIELD_NUMBER: _ClassVar[int]
    STEPS_FIELD_NUMBER: _ClassVar[int]
    TIMEOUT_S_FIELD_NUMBER: _ClassVar[int]
    policy: str
    steps: int
    timeout_s: float
    def __init__(self, policy: _Optional[str] = ..., steps: _Optional[int] = ..., timeout_s: _Optional[float] = ...) -> None: ...

class TakeReply(_message.Message):
    __slots__ = ("fragments", "newest_version")
    FRAGMENTS_FIELD_NUMBER: _ClassVar[int]
    NEWEST_VERSION_FIELD_NUMBER: _ClassVar[int]
    fragments: _containers.RepeatedCompositeFieldContainer[Fragment]
    newest_version: int
    def __init__(self, fragments: _Optional[_Iterable[_Union[Fragment, _Mapping]]] = ..., newest_version: _Optional[int] = ...) -> None: ...
