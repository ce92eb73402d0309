"""What a trainer's queue does with many clients at once: PPO on CartPole.

Clients are in at most four processes, in each of which they take turns, and never pause. With
`wait` a program waits while what it has cannot be sent, as a simulator may; with `drop` it goes on,
as a system must, and what is too much or too old is lost. All that is lost is counted: steps of
clients are those that were sent and those that were lost, and what the front received is what it
handed to the learner, what it dropped and what it still has.
"""

import time
from collections import Counter
from contextlib import ExitStack
from itertools import pairwise, product
from typing import NamedTuple

import numpy as np

from marlserve.serving.trainer.intake import Intake
from marlserve.serving.trainer.speed.programs import POLICY, Running, trainer

COUNTS = (1, 4, 16, 64)
_MOST_PROCESSES = 4
_LOOK_S = 0.05


class Row(NamedTuple):
    """What became of the steps of so many clients.

    Attributes:
        made_per_s, taken_per_s: steps that clients decided, and that were handed to the learner.
        queued_mean, queued_most: steps in the queue, looked at every 50 ms.
        learned: the share of what was made that was trained on.
        on_its_way: that waits at the end in the queue, or in a batch that is not full.
        lost: steps by reason, in shares of what was made.
        uncounted: steps that nobody knows of.
        p99_us: of decisions, in the process where it is longest.
        capacity: of the queue.
    """

    when_full: str
    clients: int
    made_per_s: float
    taken_per_s: float
    queued_mean: float
    queued_most: int
    learned: float
    on_its_way: float
    lost: dict[str, float]
    uncounted: int
    p99_us: float
    capacity: int


def of_clients(count: int, when_full: str, seconds: float) -> Row:
    """So many clients of one trainer, for so long once all of them live."""
    with trainer() as learning:
        processes = min(count, _MOST_PROCESSES)
        firsts = [count * index // processes for index in range(processes + 1)]
        given = {"address": learning.address, "policy": POLICY, "when_full": when_full}
        with ExitStack() as stack:
            programs = [
                stack.enter_context(Running("held", count=after - first, seed=first, **given))
                for first, after in pairwise(firsts)
            ]
            for program in programs:
                program.wait()
            taken_per_s, queued = _watched(learning.intake, seconds)
            for program in programs:
                program.stop()
            reports = [program.report() for program in programs]
        intake = learning.intake
    made, learned = sum(report["steps"] for report in reports), learning.learned
    sent = sum(report["sent"] for report in reports)
    lost = sum((Counter(report["lost"]) for report in reports), Counter())
    uncounted = abs(made - sent - lost.total()) + abs(_uncounted(intake))
    lost["stale in the queue"] = max(sent - intake.taken - intake.queued_steps, 0)
    return Row(
        when_full,
        count,
        sum(report["steps"] / report["wall_s"] for report in reports),
        taken_per_s,
        float(np.mean(queued)),
        max(queued),
        learned / made,
        (intake.queued_steps + intake.taken - learned) / made,
        {reason: steps / made for reason, steps in lost.most_common() if steps},
        uncounted,
        max(report["p99_us"] for report in reports),
        intake.contract.capacity_steps,
    )


def _watched(intake: Intake, seconds: float) -> tuple[float, list[int]]:
    """Steps per second that were handed out, and how many waited."""
    start_s, taken, queued = time.monotonic(), intake.taken, list[int]()
    while (passed_s := time.monotonic() - start_s) < seconds:
        queued.append(intake.queued_steps)
        time.sleep(_LOOK_S)
    return (intake.taken - taken) / passed_s, queued


def _uncounted(intake: Intake) -> int:
    """Steps that came, and neither went to the learner, nor wait, nor are among those dropped."""
    dropped = intake.dropped.total() - intake.dropped["duplicate"]
    return intake.received - intake.taken - intake.queued_steps - dropped


def run(seconds: float) -> None:
    """Print a table.

    Args:
        seconds: for each row.
    """
    print(
        "\n| when_full | clients | steps made per s | learner took per s | queue: mean | most "
        "| trained on, % | on its way at the end, % | lost, % | uncounted | decision us: p99 |"
    )
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | --- | ---: | ---: |")
    for when_full, count in product(("wait", "drop"), COUNTS):
        row = of_clients(count, when_full, seconds)
        lost = ", ".join(f"{reason} {100.0 * share:.1f}" for reason, share in row.lost.items())
        print(
            f"| {row.when_full} | {row.clients} | {row.made_per_s:,.0f} | {row.taken_per_s:,.0f} "
            f"| {row.queued_mean:,.0f} | {row.queued_most:,} | {100.0 * row.learned:.1f} "
            f"| {100.0 * row.on_its_way:.1f} | {lost or '-'} | {row.uncounted} "
            f"| {row.p99_us:,.0f} |",
            flush=True,
        )
    print(f"\nThe queue holds {row.capacity:,} steps.")
