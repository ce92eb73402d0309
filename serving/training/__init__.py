"""From the log to a new version of the policy, in a process of its own.

    python -m marlserve.serving.training --store models --log experience.sqlite --num-replicas 3

- `logged`: what decisions in it show, of the agent service and of gateways
- `transitions`: what the log has, as arrays
- `learner`: DQN by RLlib's learner, without Ray
- `soundness`: what is not published
- `trainer`: trains, saves and publishes; `process`: does so when it is told to
"""
