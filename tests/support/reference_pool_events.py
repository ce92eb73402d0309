"""The serving pool in plain Python: one copy, a heap of events, no arrays. For comparison."""

import heapq
from collections import deque
from dataclasses import dataclass

from marlserve.envs.sims.serving_pool import DENY, OUTCOMES

FREES, GIVES_UP, ARRIVES = range(3)  # in this order at the same instant


@dataclass(eq=False)
class Request:
    """`outcome` is that of `serving_pool.OUTCOMES`, and None for one that is still there."""

    arrival_s: float
    config: int
    prompt: int
    service_s: float
    start_s: float | None = None
    end_s: float | None = None
    outcome: int | None = None


def played(
    requests: list[Request], num_servers: int, max_waiting: int, timeout_s: float, until_s: float
) -> list[Request]:
    """The same requests, in order of arrival, after all that happens before `until_s`."""
    events = [(request.arrival_s, ARRIVES, i, request) for i, request in enumerate(requests)]
    heapq.heapify(events)
    number, busy, queue = len(events), 0, deque()
    while events and events[0][0] < until_s:
        now_s, event, _, request = heapq.heappop(events)
        begins = None
        if event == FREES:
            request.end_s, request.outcome = now_s, OUTCOMES["completed"]
            busy -= 1
            begins = queue.popleft() if queue else None
        elif event == GIVES_UP:
            if request.start_s is None:
                queue.remove(request)
                request.end_s, request.outcome = now_s, OUTCOMES["timed_out"]
        elif request.config == DENY:
            request.end_s, request.outcome = now_s, OUTCOMES["denied"]
        elif busy < num_servers:
            begins = request
        elif len(queue) < max_waiting:
            queue.append(request)
            heapq.heappush(events, (now_s + timeout_s, GIVES_UP, number, request))
        else:
            request.end_s, request.outcome = now_s, OUTCOMES["failed"]
        if begins is not None:
            busy, begins.start_s = busy + 1, now_s
            heapq.heappush(events, (now_s + begins.service_s, FREES, number, begins))
        number += 1
    return requests
