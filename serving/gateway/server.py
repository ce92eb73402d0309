"""The process: its command line, and how it ends.

On SIGTERM it takes no more connections, requests under way have `drain_s` to end, the log is
written, and it ends.
"""

import os
import sys

import tyro

from marlserve.serving.experience.stream import address
from marlserve.serving.gateway.app import App
from marlserve.serving.gateway.gateway import Gateway
from marlserve.serving.gateway.settings import GatewaySettings, Tokens
from marlserve.serving.service import listening


async def serve(
    settings: GatewaySettings, tokens: Tokens, redis_url: str, host: str, port: int
) -> None:
    """Until a signal comes.

    Raises:
        ValueError: as of `Gateway`.
    """
    gateway = Gateway(settings, tokens, redis_url=redis_url)
    app = App(gateway)
    async with gateway.running():
        app.is_ready = True
        await listening.listen(
            app,
            host,
            port,
            drain_s=settings.drain_s,
            tells_date=False,
            share_port=settings.num_gateways > 1,
        )


def run(
    settings: tyro.conf.OmitArgPrefixes[GatewaySettings],
    host: str = "127.0.0.1",
    port: int = 8000,
) -> None:
    """Send requests to replicas.

    Args:
        host: the address to listen on; any but loopback takes RL_TOKEN.
        port: the port to listen on.
    """
    tokens = Tokens(os.environ.get("RL_TOKEN", ""), os.environ.get("REPLICA_TOKEN", ""))
    listening.check(host, port, tokens.callers)
    listening.run(serve(settings, tokens, address(os.environ), host, port))


def main() -> None:
    """The command line."""
    try:
        tyro.cli(run, description=__doc__)
    except ValueError as error:
        sys.exit(f"error: {error}")
