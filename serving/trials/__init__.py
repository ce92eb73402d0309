"""The gateway beside routers of others, on the same engines: the tables of docs/gateway.md.

    make others                                                  # installs them into build/others
    python -m marlserve.serving.trials.overhead                  # what passing on costs
    python -m marlserve.serving.trials.shared_prefixes           # prompts that begin alike
    make vllm                                                    # installs that into build/vllm
    python -m marlserve.serving.trials.real_engines --help       # the same on real engines

- `others`: how they are started
- `traffic`: prompts, and who asks
- `vllm`: real engines; `passes`: how long theirs take; `predicting`: what the simulator says
"""
