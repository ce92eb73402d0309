"""An OpenAI-compatible gateway: a policy sends every request to one of several engines.

    python -m marlserve.serving.gateway --replicas http://127.0.0.1:8001 http://127.0.0.1:8002

docs/gateway.md has its routes, its settings, and what it does when something fails.

- `settings`; `app`: routes; `caller`: who asks; `server`: the process
- `forwarding`: from the caller to a replica and back; `headers`: which ones go on
- `address`, `connection`: HTTP to replicas; `replies`: what a reply tells as it passes
- `attempts`: one request at one replica; `measures`: counts and times; `metrics`: for Prometheus
- `fleet`, `replica`: what is known of replicas; `prompts`, `prefix_index`: what should be cached
- `watching`, `engine_metrics`: what engines tell of themselves; `health`: which ones get requests

It needs what `pip install "marlserve[serve]"` installs.
"""

from marlserve.serving import service  # noqa: F401  which says what is not installed
