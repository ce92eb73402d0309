"""The files for containers start what there is, with settings that there are."""

import json
import re
from importlib.util import find_spec
from inspect import signature
from pathlib import Path

from marlserve.serving.agent import server, settings
from marlserve.serving.agent.settings import from_environment

FOLDER = Path(__file__).parents[2] / "docs/serving"
ROOT = FOLDER.parents[1]


def environment_of_the_agent() -> dict[str, str]:
    text = (FOLDER / "compose.yaml").read_text()
    block = re.search(r"  agent:.*?environment:\n(.*?)    ports:", text, re.DOTALL)[1]
    pairs = re.findall(r"^      ([A-Z_]+): (.+)$", block, re.MULTILINE)
    assert len(pairs) == block.count("\n")
    return {name: value.strip('"') for name, value in pairs}


def test_the_agent_knows_every_variable_that_it_is_given():
    given = environment_of_the_agent()
    known = {*re.findall(r"`([A-Z_]+)`", settings.__doc__)}
    assert {*given} <= known
    made = from_environment(given)
    assert (made.num_replicas, made.redis_url) == (3, "redis://redis:6379/0")
    assert made.prometheus_url == "http://prometheus:9090"
    assert made.token


def test_the_image_has_all_packages():
    copied = re.findall(r"^COPY (\S+) \1$", (FOLDER / "Dockerfile").read_text(), re.MULTILINE)
    setup = (ROOT / "setup.cfg").read_text()
    assert sorted(copied) == sorted(re.findall(r"^    marlserve\S* = (\w+)$", setup, re.MULTILINE))
    files = re.search(r"^COPY (.+) \./$", (FOLDER / "Dockerfile").read_text(), re.MULTILINE)[1]
    assert all((ROOT / name).is_file() for name in files.split())


def test_the_image_starts_the_agent():
    text = (FOLDER / "Dockerfile").read_text()
    python, how, module, *arguments = json.loads(
        re.search(r"^CMD (\[.+\])$", text, re.MULTILINE)[1]
    )
    assert (python, how) == ("python", "-m")
    assert find_spec(f"{module}.__main__") is not None
    flags = [flag.removeprefix("--") for flag in arguments[::2]]
    assert flags == list(signature(server.run).parameters)
