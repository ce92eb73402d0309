"""What teams send: several parts, masks, numbers, memories and states; and what a seat is."""

from dataclasses import replace

import numpy as np
import pytest
from external_cases import PLAYED, SEEN, contract, steps
from gymnasium.spaces import Box, Dict, Discrete, MultiDiscrete

from marlserve.serving.wire import trainer_pb2 as pb
from marlserve.serving.wire.contract import Contract
from marlserve.serving.wire.seats import Seat
from marlserve.serving.wire.steps import Part

SEAT = Seat(SEEN, PLAYED)


def test_who_leaves_has_a_shorter_part_and_none_after_that():
    """Of two agents, one leaves after 3 of 5 steps, and a fragment is cut around that."""
    whole = steps(5)
    short = steps(3).only
    sent = replace(whole, parts=(short, whole.only))
    held_to = contract(seats={"left": SEAT, "right": SEAT})
    got = held_to.steps_of(pb.Fragment.FromString(sent.message(1).SerializeToString()))
    assert [len(part) for part in got.parts] == [3, 5]
    for at, lengths in ((2, ([2, 2], [1, 3])), (3, ([3, 3], [0, 2])), (4, ([3, 4], [0, 1]))):
        parts = [[len(part) for part in half.parts] for half in got.cut(at)]
        assert tuple(parts) == lengths
        for half in got.cut(at):
            held_to.steps_of(half.message(1))
    nobody = replace(whole, parts=(short, short))
    with pytest.raises(ValueError, match="nobody acts in the last of 5 steps"):
        held_to.steps_of(nobody.message(1))
    with pytest.raises(ValueError, match="1 parts of 2 agents"):
        held_to.steps_of(whole.message(1))


def test_masks_numbers_memories_and_states_travel():
    seen, played = Box(-1, 1, (2,)), Box(-2, 2, (3,), np.float32)
    masked = Seat(seen, MultiDiscrete([2, 3]), masked=True, memory_size=4)
    held_to = Contract("p", {"a": masked, "b": Seat(seen, played)}, False, 1.0, (), state_size=6)
    legal = np.stack([masked.legal(x) for x in ([1, 0, 1, 1, 1], None, [[0, 1, 0], [1, 1, 1]])])
    zeros = np.zeros((3, 2), np.float32)
    choices, numbers = np.array([[0, 2], [1, 1]]), np.full((2, 3), 5.5, np.float32)
    rewards = np.ones(2, np.float32)
    parts = (
        Part(0.0, zeros, choices, rewards, legal.astype(np.uint8), memory=np.ones(4, np.float32)),
        Part(0.0, zeros, numbers, rewards),
    )
    states = np.ones((3, 6), np.float32)
    sent = replace(steps(2), parts=parts, states=states)
    got = held_to.steps_of(pb.Fragment.FromString(sent.message(1).SerializeToString()))
    np.testing.assert_array_equal(got.parts[0].masks, legal)
    np.testing.assert_array_equal(got.parts[1].actions, numbers)
    np.testing.assert_array_equal(got.parts[0].memory, np.ones(4))
    np.testing.assert_array_equal(got.states, states)
    for changes, what in (
        ({"actions": np.array([[1, 2], [1, 1]])}, "that their masks forbid"),
        ({"masks": np.ones((3, 2, 3), np.uint8)}, "allow what there is not"),
        ({"masks": np.zeros((3, 2, 3), np.uint8)}, "or nothing"),
        ({"memory": None}, "agent 'a': memory"),
    ):
        wrong = replace(sent, parts=(replace(parts[0], **changes), parts[1]))
        with pytest.raises(ValueError, match=what):
            held_to.steps_of(wrong.message(1))
    with pytest.raises(ValueError, match="nothing to choose"):
        masked.legal([0, 0, 1, 1, 1])
    with pytest.raises(ValueError, match="learns without"):
        SEAT.legal(None)


@pytest.mark.parametrize(
    ("seen", "played", "what"),
    [
        (Discrete(3), Discrete(3), "must be a Box"),
        (Box(0, 1), Box(0, 1, dtype=np.float64), "and Box of float32"),
        (Dict({"action_mask": Box(0, 1)}), Discrete(3), "it must have one of"),
        (Dict({"observation": Box(0, 1), "action_mask": Box(0, 1)}), Box(0, 1), "no mask can be"),
    ],
)
def test_other_spaces_are_refused(seen, played, what):
    with pytest.raises(ValueError, match=what):
        Seat.of(seen, played)


def test_other_contracts_are_refused():
    for seats, what in (({}, "there are seats for"), ({"*": SEAT, "a": SEAT}, "alone")):
        with pytest.raises(ValueError, match=what):
            contract(seats=seats)
    with pytest.raises(ValueError, match="columns are"):
        contract(columns=("colours",))
