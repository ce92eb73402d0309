"""Programs that own their main loops, and what is learned from them by a trainer beside them.

- `processes`: a trainer and a program, from start to end
- `lander`: it flies Gymnasium's LunarLander-v3; `jobs`: it schedules a cluster

`experiments/external.py` is what one runs.
"""
