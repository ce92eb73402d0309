"""The files for containers start what there is, with settings that there are."""

import json
import re
from configparser import ConfigParser
from inspect import signature
from pathlib import Path

from marlserve.serving.agent import server, settings
from marlserve.serving.agent.settings import from_environment

FOLDER = Path(__file__).parents[2] / "docs/serving"
ROOT = FOLDER.parents[1]
SETUP = ConfigParser()
SETUP.read(ROOT / "setup.cfg")
SCRIPTS = dict(re.findall(r"(\S+) = (\S+)", SETUP["options.entry_points"]["console_scripts"]))
DOCKERFILE = (ROOT / "Dockerfile").read_text()


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
    copied = re.findall(r"^COPY (\S+) \1$", DOCKERFILE, re.MULTILINE)
    folders = re.findall(r"= (\w+)", SETUP["options"]["package_dir"])
    assert sorted(copied) == sorted(folders)
    files = re.search(r"^COPY (.+) \./$", DOCKERFILE, re.MULTILINE)[1]
    assert all((ROOT / name).is_file() for name in files.split())
    ignored = (ROOT / ".dockerignore").read_text().split()
    assert not {*copied, *files.split()} & {*ignored}


def test_the_image_starts_a_script_and_compose_the_agent():
    script, *_ = json.loads(re.search(r"^CMD (\[.+\])$", DOCKERFILE, re.MULTILINE)[1])
    assert script in SCRIPTS
    text = (FOLDER / "compose.yaml").read_text()
    command = re.search(r"    command: \[(marlserve.+)\]$", text, re.MULTILINE)[1]
    script, *arguments = command.split(", ")
    assert SCRIPTS[script] == f"{server.__name__}:main"
    flags = [flag.removeprefix("--") for flag in arguments[::2]]
    assert flags == list(signature(server.run).parameters)
