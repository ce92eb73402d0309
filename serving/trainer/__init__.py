"""Learning from programs that own their own main loop: they decide, and hand over what came of it.

    python -m marlserve.serving.trainer --config FILE        # docs/external_training.md

- `limits`: how much is taken, and how old it may be, by algorithm
- `front`: where clients and learners meet, without torch or Ray; `clients` and `learners` are what
  it answers to each of them, `intake` the queue between
- `inlet`: how a learner reaches the front
- `algorithms`: from a program's file to RLlib's config; `two_rates`: an optimizer of RL4Sys
- `learner`: a process that learns, saves itself and goes on; `process`: all of them, and the front
- `env_runner`: programs under control, as an `EnvRunner` of RLlib; `episodes`: its samples
- `metrics`: what is told to Prometheus; `speed`: how much is learned from

The process needs what `pip install "marlserve[serve]"` installs.
"""
