"""The gateway as a process: how it starts, drains, is killed, and shares a port and a log."""

import asyncio
import os
import signal
import subprocess
import sys
from contextlib import contextmanager

import pytest
from agent_client import free_port
from engines import engine
from gateway_client import COMPLETIONS, ask

from marlserve.serving.experience.events import joined
from marlserve.serving.gateway.address import Address

pytestmark = pytest.mark.slow
BODY = {"model": "tiny", "prompt": "a b c", "max_tokens": 3}


@contextmanager
def process(port: int, *flags: str, **variables: str):
    command = [sys.executable, "-m", "marlserve.serving.gateway", "--port", str(port), *flags]
    made = subprocess.Popen(command, env=os.environ | variables)
    try:
        yield made
    finally:
        made.kill()
        made.wait()


async def ready(address: Address) -> None:
    async with asyncio.timeout(120):
        while True:
            try:
                if (await ask(address, "GET", "/ready")).status == 200:
                    return
            except OSError:
                await asyncio.sleep(0.05)


def test_it_drains_on_sigterm_and_goes_on_after_a_kill(tmp_path):
    log = tmp_path / "experience.sqlite"

    async def play():
        async with engine() as made:
            port = free_port()
            address = Address(f"http://127.0.0.1:{port}")
            flags = ("--replicas", made.url, "--log", str(log))
            with process(port, *flags) as gateway:
                await ready(address)
                assert (await ask(address, "POST", COMPLETIONS, BODY)).status == 200
                await asyncio.sleep(0.5)  # more than what may be lost
                gateway.send_signal(signal.SIGKILL)
                gateway.wait()
            with process(port, *flags) as gateway:
                await ready(address)
                long = BODY | {"max_tokens": 200, "stream": True}
                task = asyncio.create_task(ask(address, "POST", COMPLETIONS, long))
                while not made.running:
                    await asyncio.sleep(0.01)
                gateway.send_signal(signal.SIGTERM)
                await asyncio.sleep(0.2)
                with pytest.raises(ConnectionRefusedError):
                    await ask(Address(address.url), "GET", "/health")
                answer = await task
                assert answer.body.endswith(b"data: [DONE]\n\n")
                assert await asyncio.to_thread(gateway.wait, 60) == 0

    asyncio.run(play())
    assert [each.outcome["output_tokens"] for each in joined(log)] == [3, 200]


def test_several_share_a_port_and_a_log(tmp_path):
    log = tmp_path / "experience.sqlite"

    async def play():
        async with engine() as made:
            port = free_port()
            address = Address(f"http://127.0.0.1:{port}")
            common = ("--replicas", made.url, "--log", str(log), "--num-gateways", "2")
            with process(port, *common) as one, process(port, *common, "--gateway", "1") as other:
                await ready(address)
                await asyncio.sleep(2.0)  # the other one, too
                for _ in range(40):  # each by a connection of its own
                    answer = await ask(Address(address.url), "POST", COMPLETIONS, BODY)
                    assert answer.status == 200
                for each in (one, other):
                    each.send_signal(signal.SIGTERM)
                    assert await asyncio.to_thread(each.wait, 60) == 0

    asyncio.run(play())
    found = list(joined(log))
    assert len(found) == 40
    assert len({each.id.partition("-")[0] for each in found}) == 2


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--replicas", "ftp://x"], "error: replica is 'ftp://x'"),
        (["--host", "0.0.0.0"], "error: host is 0.0.0.0"),
        (["--log", "/dev/null/log"], "error: /dev/null/log cannot be a log"),
        (["--scrape-s", "0"], "scrape_s is 0.0"),
    ],
)
def test_it_says_why_it_does_not_start(flags, message):
    command = [sys.executable, "-m", "marlserve.serving.gateway", *flags]
    done = subprocess.run(command, text=True, capture_output=True)
    assert done.returncode != 0
    assert message in done.stderr
    assert "Traceback" not in done.stderr
