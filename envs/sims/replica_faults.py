"""What happens to a replica that goes down."""

from numba import njit

from marlserve.envs.sims.replica_arrays import END, FAILED, IDLE, NONE
from marlserve.envs.sims.replica_kernel import tell


@njit(cache=True)
def stop(e, now_ns, requests, blocks, table, running, rows, log, log_length):
    """The replica stops: whatever it was given is lost, and so is its cache."""
    for i in range(e.running + e.waiting):
        q = running[i] if i < e.running else e.first
        if i >= e.running:
            e.first = requests[q].next
        requests[q].status, requests[q].last_token_ns = FAILED, now_ns
        tell(END, q, log, log_length)
    e.rejected += e.running + e.waiting
    e.running = e.waiting = e.fresh = e.num_idle = 0
    e.run_left = e.run_done = e.stuck = 0
    e.phase = IDLE
    e.first = e.last = e.free = e.oldest = e.newest = NONE
    e.num_free = len(blocks)
    e.clock_ns = now_ns
    table[:] = NONE
    for i in range(len(rows)):
        rows[i] = i
