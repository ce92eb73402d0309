"""What services share: answers over HTTP, some of them at once, metrics, policies, how a process
listens and ends.

It needs what `pip install "marlserve[serve]"` installs.
"""

try:
    import httptools  # noqa: F401
    import prometheus_client  # noqa: F401
    import pydantic_core  # noqa: F401
    import uvicorn  # noqa: F401
    import uvloop  # noqa: F401
except ImportError as error:
    raise ImportError(
        f'services need a web server; pip install "marlserve[serve]" ({error})'
    ) from error
