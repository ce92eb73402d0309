"""Regions of shared memory, from Python: messages, owners, and what is refused."""

import os
import subprocess
import sys
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from shared_memory_cases import region_name

from marlserve.serving.shared_memory import layout
from marlserve.serving.shared_memory.alias import alias_table
from marlserve.serving.shared_memory.shared_memory import FOLDER, SharedMemoryRegion


@pytest.fixture
def name():
    with region_name() as made:
        yield made


@pytest.mark.parametrize("crc", [False, True])
def test_messages_go_both_ways(name, crc):
    with (
        SharedMemoryRegion.create(name, num_servers=3, crc=crc) as ours,
        SharedMemoryRegion.attach(name) as theirs,
    ):
        assert ours.read_msg_out() is None
        statistics_s = np.arange(30, dtype=np.float32).reshape(3, 10)
        for number in range(1, 20):
            theirs.write_msg_out([1, 2, number], [7, 8, 9], statistics_s, [True, False, True])
            seen = ours.read_msg_out()
            assert (seen.number, seen.ongoing.tolist()) == (number, [1, 2, number])
            assert seen.completed.tolist() == [7, 8, 9]
            assert seen.is_active.tolist() == [True, False, True]
            assert (seen.statistics_s == statistics_s).all()
            assert 0 <= time.monotonic_ns() - seen.time_ns < 60e9
            assert ours.read_msg_out() is None
            assert ours.write_msg_in([1.0, 2.0, number]) == number
            asked = theirs.read_msg_in()
            assert asked.weights.tolist() == [1.0, 2.0, number]
            assert asked.number == number
        assert ours.torn == theirs.torn == 0


def test_a_reader_gets_the_newest_and_each_direction_has_its_own_count(name):
    with (
        SharedMemoryRegion.create(name, num_servers=1, ring=4) as ours,
        SharedMemoryRegion.attach(name) as theirs,
    ):
        for number in range(100):
            theirs.write_msg_out([number], [0], np.zeros((1, 10)), [True])
        assert ours.read_msg_out().ongoing.tolist() == [99]
        ours.write_msg_in([3.0])
        assert theirs.read_msg_in().weights.tolist() == [3.0]


def test_heartbeats_and_owners(name):
    with SharedMemoryRegion.create(name, 2) as ours:
        assert ours.heartbeat_age_s() == float("inf")
        ours.heartbeat(layout.PLANE)
        assert 0.0 <= ours.heartbeat_age_s(layout.PLANE) < 60.0
        assert ours.heartbeat_age_s(layout.CONTROLLER) == float("inf")
        assert ours.owner_is_alive
        with pytest.raises(ValueError, match=f"is there already, of process {os.getpid()}"):
            SharedMemoryRegion.create(name, 2)


def test_the_region_of_a_process_that_is_gone_is_replaced(name):
    make = (
        "import sys; from marlserve.serving.shared_memory.shared_memory import SharedMemoryRegion;"
        "SharedMemoryRegion.create(sys.argv[1], 2)"
    )
    subprocess.run([sys.executable, "-c", make, name], check=True)
    with SharedMemoryRegion.attach(name) as old:
        assert not old.owner_is_alive
        with SharedMemoryRegion.create(name, 5) as new:
            assert (old.num_servers, new.num_servers) == (2, 5)
            with SharedMemoryRegion.attach(name) as again:
                assert again.owner_is_alive
                assert again.num_servers == 5
            new.unlink()
    with pytest.raises(FileNotFoundError):
        SharedMemoryRegion.attach(name)


@pytest.mark.parametrize("bad", ["", "a/b", ".hidden", "../up", "x" * 300])
def test_bad_names(bad):
    for make in (SharedMemoryRegion.create, SharedMemoryRegion.attach):
        with pytest.raises(ValueError, match="name is"):
            make(bad)


@pytest.mark.parametrize(
    ("field", "value"), [("num_servers", 0), ("num_servers", 5000), ("ring", 1)]
)
def test_bad_sizes(name, field, value):
    with pytest.raises(ValueError, match=f"{field} is {value}; allowed is"):
        SharedMemoryRegion.create(name, **{field: value})


def test_bad_weights(name):
    with SharedMemoryRegion.create(name, 2) as region:
        for weights in ([1.0], [1.0, np.nan], [0.0, 0.0], [-1.0, 2.0], [], 3.0, [[1.0, 2.0]]):
            with pytest.raises(ValueError, match="weights"):
                region.write_msg_in(weights)
        assert region.read_msg_in() is None


@given(st.lists(st.floats(0.0, 1e6), min_size=1, max_size=40).filter(lambda x: sum(x) > 1e-3))
def test_an_alias_table_has_the_shares_of_the_weights(weights):
    odds, alias = alias_table(weights)
    number = len(weights)
    share = odds / number
    np.add.at(share, alias, (1.0 - odds) / number)
    np.testing.assert_allclose(share, np.array(weights) / sum(weights), atol=1e-6)


# What is broken ----------------------------------------------------------------------------------


@given(data=st.data())
def test_bytes_that_are_no_region_are_refused(data):
    """Wherever the header is changed: of 7 servers, no other number has slots of the same sizes."""
    with region_name() as made, SharedMemoryRegion.create(made, 7):
        path = FOLDER / made
        whole = bytearray(path.read_bytes())
        place = data.draw(st.integers(0, 40 - 1) | st.integers(56, 63))
        whole[place] ^= data.draw(st.integers(2, 255))
        path.write_bytes(whole)
        with pytest.raises(ValueError, match="is no region"):
            SharedMemoryRegion.attach(made)


@given(data=st.binary(max_size=2000), cut=st.integers(0, 6000))
def test_random_and_truncated_files_are_refused(data, cut):
    with region_name() as made:
        path = FOLDER / made
        path.write_bytes(data)
        with pytest.raises(ValueError, match="is no region"):
            SharedMemoryRegion.attach(made)
        path.unlink()
        with SharedMemoryRegion.create(made, 3):
            whole = path.read_bytes()
            path.write_bytes(whole[: min(cut, len(whole) - 1)])
            with pytest.raises(ValueError, match="is no region"):
                SharedMemoryRegion.attach(made)


def test_a_message_of_a_wrong_crc_is_not_taken(name):
    with SharedMemoryRegion.create(name, 2, crc=True) as region:
        region.write_msg_in([1.0, 2.0])
        path = FOLDER / name
        with path.open("r+b") as file:
            begin = layout.HEADER_BYTES + 8 * layout.slot_bytes(2, layout.OUT)
            file.seek(begin + layout.slot_bytes(2, layout.IN) + layout.ENVELOPE.itemsize)
            file.write(b"\x01")
        with pytest.raises(TimeoutError, match="no message was whole"):
            region.read_msg_in()


def test_a_writer_that_died_in_a_slot_leaves_the_last_whole_message(name):
    with SharedMemoryRegion.create(name, 1, ring=2) as region:
        for number in (1, 2):
            region.write_msg_out([number], [0], np.zeros((1, 10)), [True])
        slots = region._ways[layout.OUT]
        slots._words[1][0] |= 1  # the slot of message 3, begun and never ended
        assert region.read_msg_out().ongoing.tolist() == [2]
        region.write_msg_out([3], [0], np.zeros((1, 10)), [True])
        assert region.read_msg_out().ongoing.tolist() == [3]
