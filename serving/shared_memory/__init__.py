"""Shared memory between a data plane and a controller: one layout, in C and in Python.

    from marlserve.serving.shared_memory.shared_memory import SharedMemoryRegion

    with SharedMemoryRegion.create("lb_rl_shm", num_servers=7) as region:    # or attach(name)
        seen = region.read_msg_out()          # what the data plane saw; None: nothing new
        region.write_msg_in([1.0, 2.0, ...])  # weights, with their alias table

- `lb_shm.h`: the data plane's side, C11, and the description of all of it; `HEADER` is its path
- `layout`: the same bytes for numpy; `slots`: how a message is written and read
- `reservoirs`: those of the simulator, fed value by value
- `shared_memory`: the region; `alias`: choosing a server by weights at once
"""

from pathlib import Path

HEADER = Path(__file__).with_name("lb_shm.h")
