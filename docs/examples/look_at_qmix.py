# %% [markdown]
# # Train QMIX, and look at what it does
#
# Two balancers share seven servers, two of which are slow at a time, and nobody says which. QMIX
# learns to weigh the servers; here is how it reacts when one slows down, and what it looks at.
#
# The cells run one after the other in an editor that knows `# %%`, or all at once:
# `python docs/examples/look_at_qmix.py`. With `--small` they take seconds, and it learns nothing.

# %%
import sys
from dataclasses import replace
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from marlserve.envs.load_balance import BASELINES, DEGRADED, FEATURES, Problem
from marlserve.experiments.harness.evaluate import held_out_seeds, play
from marlserve.experiments.harness.training import train
from marlserve.experiments.studies.load_balance.study import STUDY
from marlserve.policies.checkpoint import CheckpointPolicy

SMALL = "--small" in sys.argv
ENV_STEPS, EPISODES = (6_400, 2) if SMALL else (100_000, 24)

# %% [markdown]
# ## Train
#
# The preset's own settings, with fewer steps: two to three minutes. A finished run is not trained
# again, and one that was stopped goes on.

# %%
folder = train(STUDY.experiment("degraded", "qmix", env_steps=ENV_STEPS), Path("runs"))

# %% [markdown]
# ## Play
#
# Held-out episodes, beside `sed`, which weighs by cores and nothing else. Of every step we keep
# what was seen, the weights, and how fast the servers really were.

# %%
config = replace(DEGRADED, split="test")
seeds = held_out_seeds(EPISODES)
problem, policy = Problem(config, EPISODES), CheckpointPolicy(folder)
seen, weights, speeds = [], [], []


def keep(step):
    seen.append(step.observations)
    weights.append(problem.weights.mean(axis=1))  # of both balancers
    speeds.append(problem.cluster.servers["speed"].copy())


learned = play(problem, policy, seeds, keep)
rule = BASELINES["sed"]
other = Problem(rule.configure(config), EPISODES)
sed = play(other, rule.policy(other), seeds)
weights, speeds = np.array(weights), np.array(speeds)  # [steps, episodes, servers]
for name, rows in (("qmix", learned), ("sed", sed)):
    print(f"{name}: mean latency {1e3 * rows['mean_latency_s'].mean():.1f} ms")

# %% [markdown]
# ## How it reacts
#
# The mean weight of a server around the moment at which it becomes slow, and at which it recovers,
# over all servers and episodes. It takes some flows to notice: the first slow ones have to be under
# way for longer than usual.

# %%
before, after = 8, 24  # steps
steps = np.arange(-before, after)
figure, axes = plt.subplots(1, 2, figsize=(8, 3), sharey=True, layout="constrained")
for axis, title, change in zip(axes, ("slows down", "recovers"), (-1, 1), strict=True):
    at, episode, server = np.nonzero(np.sign(np.diff(speeds, axis=0)) == change)
    windows = [
        weights[t + 1 + steps, e, j]
        for t, e, j in zip(at, episode, server, strict=True)
        if before <= t + 1 < len(speeds) - after
    ]
    axis.plot(steps * config.step_s, np.mean(windows, axis=0))
    axis.axvline(0.0, color="0.6", linewidth=0.8)
    axis.set(title=f"a server {title} ({len(windows)} times)", xlabel="seconds")
axes[0].set_ylabel("its weight")
figure.savefig("reaction.png", dpi=120)

# %% [markdown]
# ## What it looks at
#
# Take what was seen, and exchange one number between servers at random: the more the weights
# change, the more depends on it.

# %%
rng = np.random.default_rng(0)
views = np.concatenate([x[:, 0] for x in seen])  # [steps * episodes, servers, features]
levels = np.asarray(config.weight_levels)
policy.reset()
as_it_was = levels[policy({"lb_0": views, "lb_1": views})["lb_0"]]
changed = []
for feature in range(len(FEATURES)):
    exchanged = views.copy()
    exchanged[..., feature] = rng.permutation(views[..., feature].ravel()).reshape(views.shape[:2])
    now = levels[policy({"lb_0": exchanged, "lb_1": exchanged})["lb_0"]]
    changed.append(np.abs(now - as_it_was).mean())
figure, axis = plt.subplots(figsize=(6, 4), layout="constrained")
axis.barh(FEATURES[::-1], changed[::-1])
axis.set_xlabel("mean change of a weight")
figure.savefig("what_it_looks_at.png", dpi=120)
