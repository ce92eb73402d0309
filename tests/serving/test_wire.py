"""What travels: arrays, fragments and policies come out as they went in, or are refused."""

import subprocess
import sys
import zlib
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from external_cases import PLAYED, SEEN, contract, policy, steps
from google.protobuf.message import DecodeError
from gymnasium.spaces import Box, MultiDiscrete
from hypothesis import given, settings
from hypothesis import strategies as st

from marlserve.policies.export import file
from marlserve.policies.export.noise import Noise
from marlserve.serving.wire import trainer_pb2 as pb
from marlserve.serving.wire.arrays import array_of, message_of
from marlserve.serving.wire.contract import Contract
from marlserve.serving.wire.policy_diff import applied, difference
from marlserve.serving.wire.policy_parts import Assembly, Published
from marlserve.serving.wire.seats import Seat
from marlserve.serving.wire.steps import TERMINATED

WIRE = Path(__file__).parents[2] / "serving/wire"
SEAT = Seat(SEEN, PLAYED)
COLUMNS = ("observations", "actions", "rewards", "log_probabilities", "outputs")  # of a part


def test_generated_code_is_what_the_proto_says(tmp_path):
    assert find_spec("grpc_tools"), "the extra `test` has grpcio-tools"
    outs = (f"--{kind}_out={tmp_path}" for kind in ("python", "pyi", "grpc_python"))
    name = "marlserve/serving/wire"
    command = (sys.executable, "-m", "grpc_tools.protoc", f"-I{name}={WIRE}", *outs)
    subprocess.run([*command, f"{name}/trainer.proto"], check=True)
    made = sorted((tmp_path / name).iterdir())
    assert len(made) == 3
    for path in made:
        assert path.read_text() == (WIRE / path.name).read_text(), f"{path.name} is out of date"


@pytest.mark.parametrize(
    "dtype", ["float32", "float64", "int8", "int16", "int32", "int64", "uint8"]
)
@pytest.mark.parametrize("shape", [(3,), (2, 4), (0, 2), ()])
def test_arrays_come_out_as_they_went_in(dtype, shape):
    rng = np.random.default_rng(0)
    values = np.asarray(rng.integers(0, 100, shape)).astype(dtype)
    message = pb.Array.FromString(message_of(values).SerializeToString())
    np.testing.assert_array_equal(array_of(message, "values", shape, dtype), values)
    # Little-endian and in C order, whatever the array is.
    other = values.T.copy().T.astype(np.dtype(dtype).newbyteorder(">"))
    assert message_of(other) == message


def test_other_arrays_are_refused():
    message = message_of(np.zeros((2, 3), np.float32))
    with pytest.raises(ValueError, match="values are float32; they must be int64"):
        array_of(message, "values", (2, 3), "int64")
    with pytest.raises(ValueError, match=r"values have shape \[2, 3\]; it must be \[3, 2\]"):
        array_of(message, "values", (3, 2), "float32")
    message.data = message.data[:-1]
    with pytest.raises(ValueError, match="23 bytes; of their shape it is 24"):
        array_of(message, "values", (2, 3), "float32")
    with pytest.raises(ValueError, match="not finite"):
        array_of(message_of(np.array([np.inf])), "values", (1,), "float64")
    with pytest.raises(ValueError, match="the array is of bool; allowed are"):
        message_of(np.zeros(2, bool))


def test_fragments_come_out_as_they_went_in():
    sent = steps(5, "run", 3, first_step=7, return_before=2.5, ending=TERMINATED, agent="a0")
    message = pb.Fragment.FromString(sent.message(4).SerializeToString())
    assert message.number == 4
    got = contract().steps_of(message)
    for name in COLUMNS:
        column, expected = getattr(got.only, name), getattr(sent.only, name)
        np.testing.assert_array_equal(column, expected, err_msg=name)
    assert (got.agent, got.episode, got.first_step, got.only.return_before) == ("a0", 1, 7, 2.5)
    assert (got.versions.tolist(), got.times_s.tolist()) == ([3] * 5, [0, 1, 2, 3, 4])
    assert (got.run, got.ending, got.is_over) == ("run", TERMINATED, True)


def test_a_fragment_that_is_cut_goes_on_where_it_was():
    whole = steps(5, first_step=10, return_before=3.0, ending=TERMINATED)
    first, rest = whole.cut(2)
    assert (len(first), first.is_over, first.first_step) == (2, False, 10)
    assert (len(rest), rest.is_over, rest.first_step) == (3, True, 12)
    assert rest.only.return_before == 3.0 + 0.0 + 1.0
    assert rest.only.earned == whole.only.earned == 3.0 + 10.0
    np.testing.assert_array_equal(first.only.observations[-1], rest.only.observations[0])
    for name in COLUMNS[1:]:
        both = np.concatenate([getattr(first.only, name), getattr(rest.only, name)])
        np.testing.assert_array_equal(both, getattr(whole.only, name))


WRONG = {
    "2 rewards": ({"rewards": np.zeros(2, np.float32)}, "observations have shape"),
    "5 rewards": ({"rewards": np.zeros(5, np.float32)}, "there are 5 rewards in 3 steps"),
    "no steps": ({"versions": np.zeros(0, np.int64)}, "there are 0 steps"),
    "too many": (vars(steps(11)), "there are 11 steps; allowed are 1 to 10"),
    "doubles": ({"observations": np.zeros((4, 4))}, "observations are float64"),
    "NaN seen": ({"observations": np.full((4, 4), np.nan, np.float32)}, "not finite"),
    "out of range": ({"observations": np.full((4, 4), 9.5, np.float32)}, "outside of Box"),
    "action 3": ({"actions": np.array([0, 1, 3])}, "outside of Discrete"),
    "action -1": ({"actions": np.array([0, -1, 1])}, "outside of Discrete"),
    "NaN earned": ({"rewards": np.array([0, np.nan, 1], np.float32)}, "not finite"),
    "huge rewards": ({"rewards": np.full(3, 2e9, np.float32)}, "beyond 1e"),
    "chance of 2": ({"log_probabilities": np.full(3, 0.7, np.float32)}, "above 0"),
    "version 0": ({"versions": np.zeros(3, np.int64)}, "less than 1, or go back"),
    "versions back": ({"versions": np.array([3, 2, 2])}, "less than 1, or go back"),
    "times back": ({"times_s": np.array([3.0, 2.0, 4.0])}, "times go back"),
    "a long name": ({"agent": "a" * 201}, "agent has 201 letters"),
    "NaN before": ({"return_before": np.nan}, "rewards are beyond"),
}


@pytest.mark.parametrize("name", WRONG)
def test_fragments_that_are_not_what_the_contract_says_are_refused(name):
    changes, what = WRONG[name]
    held_to = contract(most_steps=10)
    held_to.steps_of(steps().message(1))
    with pytest.raises(ValueError, match=what):
        held_to.steps_of(steps(**changes).message(1))


def test_of_an_on_policy_learner_a_fragment_has_one_version():
    message = steps(versions=np.array([1, 1, 2])).message(1)
    contract().steps_of(message)
    with pytest.raises(ValueError, match="several versions"):
        contract(on_policy=True, most_staleness=1).steps_of(message)


def test_a_contract_is_told_as_it_is():
    for limit in (2.0, float("inf")):
        seats = {"a": Seat(Box(-1, 1, (2, 3)), MultiDiscrete([2, 3]), True, 5), "b": SEAT}
        held_to = Contract("p", seats, True, limit, ("outputs",), 8, 7, 9)
        told = Contract.of(pb.Contract.FromString(held_to.message().SerializeToString()))
        assert told == held_to
        assert told.spaces_hash == held_to.spaces_hash != contract().spaces_hash
    with pytest.raises(ValueError, match="nested too deeply"):
        Seat.told(pb.Seat(observation_space="[" * 100_000, action_space="[]"))


def test_a_policy_comes_in_parts():
    weights = bytes(range(256)) * 3_000  # 768 KB
    noises = {"q": Noise("m", "d", squash="tanh"), "r": Noise("m", "", (0.5, -1.0))}
    published = Published("run", 3, b"{}", weights, 0.25, noises)
    parts = list(published.parts())
    assert len(parts) == 3
    assembly = Assembly()
    assert [assembly.add(part) for part in parts] == [None, None, published]
    with pytest.raises(ValueError, match="begins without its head"):
        assembly.add(parts[1])


def test_of_a_policy_that_is_known_only_what_changed_is_sent():
    rng = np.random.default_rng(0)
    before = rng.normal(size=20_000).astype(np.float32)
    after = before + rng.normal(scale=1e-3, size=before.size).astype(np.float32)
    old, new = (Published("run", v, b"{}", x.tobytes(), 0.0) for v, x in ((1, before), (2, after)))
    changes = difference(old.weights, new.weights)
    assert changes is not None
    assert len(changes) < 0.8 * len(new.weights)
    (part,) = new.parts(1, changes)
    assert Assembly(old).add(part) == new
    for other in (None, Published("another", 1, b"{}", old.weights, 0.0), new):
        with pytest.raises(ValueError, match="version 1 is changed, and is not there"):
            Assembly(other).add(part)
    noise = rng.bytes(len(old.weights))
    assert difference(old.weights, noise) is None  # which is not less than the whole
    assert difference(old.weights, old.weights + bytes(4)) is None
    for broken in (changes[:100], noise, zlib.compress(bytes(10)), zlib.compress(bytes(10**6))):
        with pytest.raises(ValueError, match="what changed"):
            applied(old.weights, broken)


def test_a_policy_that_was_changed_on_the_way_is_refused():
    manifest, weights = file.encoded(policy())
    assert Published("run", 1, manifest, weights, 0.0).policy_file() is not None
    with pytest.raises(ValueError, match="checksum"):
        Published("run", 1, manifest, weights[:-1] + b"\x00\x01", 0.0).policy_file()


GOOD = steps(4).message(1)
GOOD_BYTES = GOOD.SerializeToString()


def taken(fragment: pb.Fragment) -> None:
    """Take it, or say why not; anything else is a crash."""
    try:
        got = contract().steps_of(fragment)
    except ValueError:
        return
    assert 1 <= len(got) <= 1_000
    assert np.isfinite(got.only.rewards).all()
    assert np.isfinite(got.only.observations).all()


@settings(max_examples=250)
@given(st.binary(max_size=100), st.integers(0, 40))
def test_raw_bytes_give_errors_and_no_crash(noise, removed):
    """Noise alone, and in 39 places of a good fragment: 10,000 of them."""
    places = range(0, len(GOOD_BYTES), -(-len(GOOD_BYTES) // 39))
    mixed = [GOOD_BYTES[:at] + noise + GOOD_BYTES[at + removed :] for at in places]
    for data in (noise, *mixed):
        try:
            fragment = pb.Fragment.FromString(data)
        except DecodeError:
            continue
        taken(fragment)


ARRAYS = st.builds(
    pb.Array,
    dtype=st.integers(-5, 12),
    shape=st.lists(st.integers(0, 6) | st.integers(0, 2**32 - 1), max_size=4),
    data=st.binary(max_size=80),
)
NUMBERS = {"number": 64, "episode": 64, "first_step": 64, "ending": 31}  # and their bits


@pytest.mark.slow
@settings(max_examples=300)
@given(ARRAYS, st.floats(width=32), st.integers(0, 2**64 - 1), st.text(max_size=300), st.floats())
def test_field_values_give_errors_and_no_crash(array, number, whole, text, real):
    """In a good fragment, any field is another one: 36 of them, 10,000 in all."""

    def changed(**fields) -> pb.Fragment:
        fragment = pb.Fragment.FromString(GOOD_BYTES)
        for name, value in fields.items():
            message = fragment if hasattr(fragment, name) else fragment.parts[0]
            message.ClearField(name)
            if isinstance(value, pb.Array):
                getattr(message, name).CopyFrom(value)
            else:
                setattr(message, name, value)
        return fragment

    for name in (*COLUMNS, "versions", "times_s"):
        good = getattr(GOOD if hasattr(GOOD, name) else GOOD.parts[0], name)
        dtype = pb.DType.Name(good.dtype).lower()
        numbers = np.full(good.shape, number if "float" in dtype else whole % 2**63)
        taken(changed(**{name: array}))
        taken(changed(**{name: pb.Array(dtype=good.dtype, shape=array.shape, data=array.data)}))
        taken(changed(**{name: pb.Array(dtype=good.dtype, shape=good.shape, data=array.data)}))
        with np.errstate(over="ignore"):
            taken(changed(**{name: message_of(numbers.astype(dtype))}))
    for name, bits in NUMBERS.items():
        taken(changed(**{name: whole % 2**bits}))
    for name in ("agent", "run", "session"):
        taken(changed(**{name: text}))
    taken(changed(return_before=real))
