"""The gateway beside routers of others, on the same engines: the tables of docs/gateway.md.

    make others                                                  # installs them into build/others
    python -m marlserve.serving.trials.overhead                  # what passing on costs
    python -m marlserve.serving.trials.shared_prefixes           # prompts that begin alike

- `others`: how they are started
- `traffic`: prompts, and who asks
"""
