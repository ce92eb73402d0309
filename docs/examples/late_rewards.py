# %% [markdown]
# # Rewards that come many decisions later
#
# A program places jobs on three machines and does not know how fast they are. What a placement was
# worth is known when its job is done, tens of placements later: by then the decision is told so.
#
# The cells run one after the other in an editor that knows `# %%`, or all at once:
# `python docs/examples/late_rewards.py`. With `--small` they take seconds, and little is learned.

# %%
import heapq
import json
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np

from marlserve.serving.client.agent import Agent
from marlserve.serving.client.rl4sys import client_settings
from marlserve.serving.wire.program import read

JOBS = 3_000 if "--small" in sys.argv else 30_000
SPEEDS, MEAN_GAP_S = np.array([1.0, 0.5, 0.25]), 1.5

# %% [markdown]
# ## The program
#
# Jobs come at random, each to the end of one machine's queue. `place` is shown how many jobs are on
# each machine, and returns where the next one goes, and whom to tell what came of it.

# %%
Place = Callable[[np.ndarray], tuple[int, Callable[[float], object]]]


def serve(place: Place, jobs: int, seed: int) -> np.ndarray:
    """The seconds that each job was here, [jobs]."""
    rng = np.random.default_rng(seed)
    free_s, present, running = np.zeros(3), np.zeros(3, np.float32), []
    times_s, now_s = np.zeros(jobs), 0.0
    for job in range(jobs):
        now_s += rng.exponential(MEAN_GAP_S)
        while running and running[0][0] <= now_s:
            _, earlier, machine, tell = heapq.heappop(running)
            present[machine] -= 1
            tell(-times_s[earlier])  # now it is known
        machine, tell = place(present)
        free_s[machine] = max(free_s[machine], now_s) + rng.exponential(1.0) / SPEEDS[machine]
        times_s[job] = free_s[machine] - now_s
        present[machine] += 1
        heapq.heappush(running, (free_s[machine], job, machine, tell))
    return times_s


def shortest_queue(present: np.ndarray) -> tuple[int, Callable[[float], object]]:
    return int(present.argmin()), lambda reward: None


# %% [markdown]
# ## The trainer
#
# A fragment of steps is not sent before all of its rewards are known, or `reward_deadline_s` over.
# There are no episodes: it goes on and on, and fragments are cut after 100 steps.

# %%
with socket.socket() as found:
    found.bind(("127.0.0.1", 0))
    address = f"127.0.0.1:{found.getsockname()[1]}"
config = Path("late_rewards.json")
parameters = {"input_size": 3, "act_dim": 3, "seed": 0, "gamma": 0.95}
parameters |= {"train_batch_size_per_learner": 1_000, "minibatch_size": 250}
said = {
    "client_id": "late-rewards",
    "algorithm_name": "ppo",
    "algorithm_parameters": parameters,
    "train_server_address": address,
    "folder": "late_rewards",
    "max_traj_length": 100,
    "buffer_steps": 1_000,
    "when_full": "wait",
    "niceness": 0,
    "reward_deadline_s": 5.0,
}
config.write_text(json.dumps(said))
trainer = subprocess.Popen(
    [sys.executable, "-m", "marlserve.serving.trainer", "--config", str(config)],
    stdout=subprocess.DEVNULL,
    stderr=subprocess.DEVNULL,
)

# %% [markdown]
# ## Learn
#
# The learner is not asked for anything: it is told, and its newer policies are played as they come.

# %%
with Agent(client_settings(read(config))) as agent:
    agent.wait_for_policy(300.0)

    def place(present: np.ndarray) -> tuple[int, Callable[[float], object]]:
        decision = agent.act(present)
        return decision.action, decision.reward

    times_s = serve(place, JOBS, seed=0)
    agent.close()
trainer.terminate()
trainer.wait()
few = JOBS // 10
ruled_s = serve(shortest_queue, JOBS, seed=0)
print(f"learning: {times_s[:few].mean():.2f} s at first, {times_s[-few:].mean():.2f} s at last")
print(f"shortest queue: {ruled_s[-few:].mean():.2f} s")
print(f"sent {agent.link.sent:,} of {JOBS:,} steps, {agent.outbox.defaulted} rewards too late")
