"""The agent service: which replica gets the next request, over HTTP, learning as it goes.

    python -m marlserve.serving.agent --host 127.0.0.1 --port 5000

docs/serving.md has its routes, its settings, and what it does when something fails.

- `settings`: environment variables; `bodies`: what routes take
- `service`: what routes do; `outcomes`: which decisions wait for theirs
- `inputs`: what is measured when a request does not say; `metrics`: what is told to Prometheus
- `trainer`: the process that trains
- `app`, `routes`, `answers`: HTTP; `server`: the process
- `speed`: how fast it is

It needs what `pip install "marlserve[serve]"` installs.
"""

try:
    import fastapi  # noqa: F401
    import prometheus_client  # noqa: F401
    import redis  # noqa: F401
    import uvicorn  # noqa: F401
except ImportError as error:
    raise ImportError(
        f'the agent needs a web server; pip install "marlserve[serve]" ({error})'
    ) from error
