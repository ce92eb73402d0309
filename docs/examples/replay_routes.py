# %% [markdown]
# # Route requests, and replay them in an independent engine
#
# A policy sends the requests of an episode to four replicas of a language model, of speeds 2, 1, 1
# and .5. Then the mock engine of NVIDIA Dynamo serves what each of them got, and we see whether the
# requests take as long there as the simulator says.
#
# The engine comes with `make others`, into an environment of its own. The cells run one after the
# other in an editor that knows `# %%`, or all at once: `python docs/examples/replay_routes.py`.
# `--policy` names another rule, or the folder of a run.

# %%
import argparse
import json
import subprocess
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from marlserve.envs.replica_routing import MIXED
from marlserve.envs.sims.replica import Replicas
from marlserve.experiments import replica_routing
from marlserve.traces import llm_requests

parser = argparse.ArgumentParser()
parser.add_argument("--policy", default="marginal_cost")
parser.add_argument("--seconds", default="120")
parser.add_argument("--others", type=Path, default=Path("build/others"))
given, _ = parser.parse_known_args()  # an editor has arguments of its own

# %% [markdown]
# ## Route
#
# `assign` plays a held-out episode and writes its requests, in Mooncake's form, and which replica
# each was sent to.

# %%
folder = Path("assignments")
words = ["assign", "--preset", "mixed", "--policy", given.policy, "--to", str(folder)]
status = replica_routing.main([*words, "--episode-s", given.seconds])
assert status == 0
about = json.loads((folder / "episode.json").read_text())
requests = llm_requests.load(path=folder / "requests.jsonl", block_tokens=about["block_tokens"])
worker = pd.read_csv(folder / "assignments.csv")["worker"].to_numpy()
speeds = np.array(about["speeds"])

# %% [markdown]
# ## As the simulator serves them

# %%
engine = MIXED.engines[0]
replicas = Replicas(
    1,
    [engine] * len(speeds),
    chain_tokens=requests.block_tokens,
    max_tokens=requests.max_tokens,
)
replicas.reset(
    *(0, requests["prompt_tokens"], requests["output_tokens"]),
    *(requests.block_starts, requests.chain_nodes, 1.0 / speeds),
)
replicas.play(worker[None], np.rint(requests.time_s * 1e9)[None])
served = replicas.requests[0]
ours = pd.DataFrame(
    {
        "ttft_ms": (served["first_token_ns"] - served["arrival_ns"]) / 1e6,
        "e2e_ms": (served["last_token_ns"] - served["arrival_ns"]) / 1e6,
    }
)

# %% [markdown]
# ## As the engine serves them
#
# The engine is told the size of its cache and its batches, and a table of how long passes take: the
# problem's own timing, slower or faster as the replica is.

# %%
PROGRAM = """
import json, sys
from dynamo.replay import run_trace_replay
trace, block_tokens, engine = sys.argv[1], int(sys.argv[2]), json.loads(sys.argv[3])
report = run_trace_replay(
    trace, num_workers=1, trace_block_size=block_tokens, capture_per_request=True,
    extra_engine_args={"engine": engine},
)
rows = sorted(report.per_request, key=lambda row: row["arrival_time_ms"])
print(json.dumps([
    [row[name] - row["arrival_time_ms"] for name in ("first_token_ms", "last_token_ms")]
    for row in rows
]))
"""


def replayed(number: int) -> pd.DataFrame:
    """Times of the requests of one replica, in their order."""
    lines = (folder / "requests.jsonl").read_text().splitlines()
    trace, table = folder / f"worker_{number}.jsonl", folder / f"worker_{number}.npz"
    trace.write_text("\n".join(lines[i] for i in np.flatnonzero(worker == number)) + "\n")
    new = np.arange(0.0, engine.max_num_batched_tokens + 1.0, 16.0)
    kv = np.array([0.0, 2.0**24])
    timing = engine.timing
    prompt_ms = timing.prefill_ms + timing.per_new_ms * new + timing.per_new2_ms * new**2
    decode_ms = timing.decode_ms + timing.per_context_ms * kv / timing.context_unit
    np.savez(
        table,
        prefill_isl=new,
        prefill_ttft_ms=prompt_ms / speeds[number],
        decode_active_kv_tokens=kv,
        decode_context_length=np.array([0.0, 131_072.0]),
        decode_itl=np.repeat(decode_ms[:, None], 2, axis=1) / speeds[number],
    )
    how = {
        "block_size": engine.block_tokens,
        "num_gpu_blocks": engine.num_blocks,
        "max_num_seqs": engine.max_num_seqs,
        "max_num_batched_tokens": engine.max_num_batched_tokens,
        "timing_model": {
            "type": "external",
            "provider": "dynamo_profile",
            "config": {"path": str(table.resolve())},
        },
    }
    python = given.others.absolute() / "bin" / "python"
    command = [str(python), "-c", PROGRAM, str(trace), str(requests.block_tokens), json.dumps(how)]
    done = subprocess.run(command, text=True, capture_output=True, check=True)
    return pd.DataFrame(json.loads(done.stdout.splitlines()[-1]), columns=list(ours))


theirs = pd.DataFrame(np.nan, index=ours.index, columns=ours.columns)
for number in range(len(speeds)):
    theirs.loc[worker == number] = replayed(number).to_numpy()

# %% [markdown]
# ## Side by side

# %%
off_ms = (ours - theirs).abs()
print(f"{len(ours)} requests; at most {off_ms.to_numpy().max():.3f} ms apart")
for name in ours:
    print(f"{name}: mean {ours[name].mean():.1f} here, {theirs[name].mean():.1f} there")
figure, axes = plt.subplots(1, 2, figsize=(8, 4), layout="constrained")
for axis, name in zip(axes, ours, strict=True):
    axis.loglog(theirs[name], ours[name], ".", markersize=3)
    axis.axline((100.0, 100.0), (1000.0, 1000.0), color="0.6", linewidth=0.8)
    axis.set(title=name, xlabel="the engine", ylabel="the simulator")
figure.savefig("replayed.png", dpi=120)
