"""Learning from programs that own their own main loop: they decide, and hand over what came of it.

    python -m marlserve.serving.trainer --config FILE        # docs/external_training.md

- `limits`: how much is taken, and how old it may be, by algorithm
- `front`: where clients and learners meet, without torch or Ray; `clients` and `learners` are what
  it answers to each of them, `intake` the queue between, `shares`: how much of it a client has
- `inlet`: how a learner reaches the front
- `algorithms`, `house_algorithms`: from a program's file to a config, RLlib's or ours, and
  `program_spaces`; `two_rates`: an optimizer of RL4Sys
- `learner`: a process that learns, saves itself and goes on; `learning`: whose it is, and when it
  begins and ends; `process`: all of them, and the front
- `external`: a config that learns from programs under control; `runners`: what samples for it
- `metrics`: what is told to Prometheus
- `speed`: what is measured of all this

The process needs what `pip install "marlserve[serve]"` installs.
"""
