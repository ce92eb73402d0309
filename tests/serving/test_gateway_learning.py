"""The loop is closed: a gateway's log is learned from, and what was learned is played."""

import asyncio
import json
import subprocess
import sys

import numpy as np
import pytest
import redis_server
from gateway_client import World, run

from marlserve.envs.replica_routing.config import PRESETS
from marlserve.serving.experience.events import joined
from marlserve.serving.policy_store import PolicyStore
from marlserve.serving.training.logged import GatewayLog
from marlserve.serving.training.transitions import transition

REQUESTS, AT_ONCE = 400, 6
SLOWNESS = (3.0, 24.0, 3.0)  # of the engines
SLOW = 1
VERSION = 6  # of 100 updates each


async def share_of_slow(world: World) -> float:
    """Of so many requests, the share that the slow engine had."""
    random, free = np.random.default_rng(0), asyncio.Semaphore(AT_ONCE)
    before = len(world.engines[SLOW].seen)

    async def one(number: int) -> None:
        async with free:
            prompt = random.integers(3, 2_000, 200).tolist()
            assert (await world.complete(prompt, max_tokens=8)).status == 200

    await asyncio.gather(*map(one, range(REQUESTS)))
    return (len(world.engines[SLOW].seen) - before) / REQUESTS


def played(world: World) -> int:
    """The version that decides; 0: none."""
    player = world.gateway.decider.player
    return 0 if player is None else int(player.version)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_what_was_learned_spares_the_slow_replica(tmp_path):
    """By Redis: the trainer has a log of its own."""
    store = PolicyStore(tmp_path / "models")

    async def play(world: World) -> None:
        for engine, slowness in zip(world.engines, SLOWNESS, strict=True):
            engine.slowness = slowness
        at_first = await share_of_slow(world)
        await world.until(lambda: played(world) >= VERSION)
        assert await share_of_slow(world) < at_first / 2
        assert world.gateway.delivery.is_connected

    with redis_server.running() as server:
        url = server.connection_url
        command = [sys.executable, "-m", "marlserve.serving.training", "--problem", "mixed"]
        command += ["--store", str(store.folder), "--log", str(tmp_path / "trainer.sqlite")]
        command += ["--num-replicas", "3", "--redis-url", url, "--every-s", "0.5"]
        command += ["--niceness", "0"]
        trainer = subprocess.Popen([*command, "--iterations", "100"], stdout=subprocess.PIPE)
        try:
            run(
                play,
                3,
                redis_url=url,
                problem="mixed",
                models=store.folder,
                log=tmp_path / "gateway.sqlite",
                heuristic="power_of_two",
                share=1.0,
                exploration=0.05,
            )
            trainer.terminate()
            lines = trainer.communicate(timeout=120)[0].decode().splitlines()
        finally:
            trainer.kill()
    assert trainer.returncode == 0
    assert json.loads(lines[-1])["unusable"] == 0
    assert (store.folder / "learner").is_dir()  # it saved itself at its end


def test_the_log_shows_what_the_policy_saw(tmp_path):
    path = tmp_path / "log.sqlite"

    async def play(world: World) -> None:
        for _ in range(3):
            await world.complete([5] * 40, max_tokens=2)

    run(play, 2, problem="long", log=path)
    logged = GatewayLog(PRESETS["long"], 2)
    found = [x for x in joined(path) if x.following is not None]
    assert len(found) == 2
    for experience in found:
        made = transition(experience, logged)
        assert made.observation in logged.observation_space
        assert made.reward < 0.0
        assert made.next_allowed.all()
    with pytest.raises(ValueError, match="it is of 2 replicas"):
        transition(found[0], GatewayLog(PRESETS["long"], 3))
    found[0].decision["seen"]["tpot_s"] = [-1.0, 0.0]
    with pytest.raises(ValueError, match="what was seen is out of range"):
        transition(found[0], logged)
    with pytest.raises(ValueError, match="the view is 'source'"):
        GatewayLog(PRESETS["source"], 3)


def test_redis_takes_events_from_a_log():
    async def play(world: World) -> None: ...

    with pytest.raises(ValueError, match="there is no log, whose events Redis is for"):
        run(play, redis_url="redis://127.0.0.1:1/0")
