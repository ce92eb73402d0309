"""The controller: a policy of `envs.load_balance` sets the weights of a real load balancer.

    python -m marlserve.serving.controller --policy my_policy --preset degraded --backend haproxy \\
        --socket haproxy.sock --servers s1 s2 s3 s4 s5 s6 s7 --balancer 0

Four times a second it looks at what the balancer saw, computes the observation that the policy was
trained on, asks it, and applies the weights. One controller for each balancer, each with its own
view. The balancer needs no controller to go on: the last weights stay. docs/data_plane.md is the
manual.

- `data_plane`: what is asked of a balancer; `haproxy`, `envoy`: of these; `shm`: of one in C
- `sight`: from what it saw to the observation
- `player`: a policy file that chooses weights; `heuristics`: what does without
- `chooser`: who chooses, and why; `loop`: a step, and when the next one is due
- `metrics`: what is told to Prometheus; `settings`, `process`: the command

It needs what `pip install "marlserve[serve]"` installs.
"""

try:
    import prometheus_client  # noqa: F401
except ImportError as error:
    raise ImportError(
        f'the controller tells metrics; pip install "marlserve[serve]" ({error})'
    ) from error
