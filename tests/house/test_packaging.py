"""What is installed is what lies here, and it works in another project's folder.

The wheel and the editable install are made from a copy of the tree, each in a virtual environment
of its own that sees the third-party packages of this one, but not its marlserve.
"""

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from configparser import ConfigParser
from importlib import import_module
from importlib.metadata import version
from pathlib import Path

import elsewhere
import pytest
from packaging.requirements import Requirement

import marlserve
from marlserve import envs, policies

ROOT = Path(__file__).parents[2]
SETUP = ConfigParser()
SETUP.read(ROOT / "setup.cfg")
FOLDERS = dict(re.findall(r"(\S+) = (\S+)", SETUP["options"]["package_dir"]))  # package -> folder
SOURCES = {
    package + "".join(f".{part}" for part in path.relative_to(ROOT / folder).with_suffix("").parts)
    for package, folder in FOLDERS.items()
    for path in (ROOT / folder).rglob("*.py")
}
MODULES = sorted(name.removesuffix(".__init__") for name in SOURCES)
DATA = {  # what modules read; experiments/results/ is there for people
    f"{package.replace('.', '/')}/{path.relative_to(ROOT / folder).as_posix()}"
    for package, folder in FOLDERS.items()
    for path in (ROOT / folder).rglob("*")
    if path.is_file() and path.suffix != ".py" and not {"__pycache__", "results"} & {*path.parts}
}

IMPORT_ALL = """
import sys
from importlib import import_module
for name in sys.argv[1:]:
    print(import_module(name).__file__)
"""

FIND_ALL = """
import sys
from importlib.util import find_spec
for name in sys.argv[1:]:
    print(find_spec(name).origin)
"""


def lines(section: str, option: str) -> list[str]:
    return [line for line in SETUP[section][option].splitlines() if line and line[0] != "#"]


def requirements() -> list[Requirement]:
    named = lines("options", "install_requires")
    for extra in SETUP["options.extras_require"]:
        named += lines("options.extras_require", extra)
    return [Requirement(line) for line in named]


def constraints() -> dict[str, Requirement]:
    text = (ROOT / "constraints.txt").read_text()
    pins = [Requirement(line) for line in text.splitlines() if line and line[0] != "#"]
    return {pin.name.lower(): pin for pin in pins}


def run(*command: object, cwd: Path) -> tuple[str, str]:
    """Output and errors of a command that must succeed, and that knows no other path."""
    clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [str(word) for word in command], cwd=cwd, env=clean, text=True, capture_output=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout, done.stderr


@pytest.fixture(scope="session")
def source(tmp_path_factory) -> Path:
    """A copy of what a build reads: no build/ or *.egg-info is left in the tree.

    Numba's compiled kernels come along, which saves the editable install their compilation.
    """
    copy = tmp_path_factory.mktemp("source")
    skip = shutil.ignore_patterns("*.pyc*", "*.tmp*")
    for folder in FOLDERS.values():
        shutil.copytree(ROOT / folder, copy / folder, ignore=skip)
    for path in ROOT.iterdir():
        if path.is_file():
            shutil.copy(path, copy)
    return copy


@pytest.fixture(scope="session")
def sdist(source, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("sdist")
    build = "import sys; from setuptools.build_meta import build_sdist; build_sdist(sys.argv[1])"
    run(sys.executable, "-c", build, folder, cwd=source)
    return next(folder.glob("*.tar.gz"))


@pytest.fixture(scope="session")
def wheel(sdist, tmp_path_factory) -> Path:
    """Made of the source distribution, which thus has all that a build wants."""
    folder = tmp_path_factory.mktemp("wheel")
    pip = (sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation")
    run(*pip, "-w", folder, sdist, cwd=folder)
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="session", params=["wheel", "editable"])
def installed(request, source, tmp_path_factory) -> tuple[Path, Path]:
    """The Python of another project with marlserve in it, and where its modules must come from."""
    project = tmp_path_factory.mktemp(f"{request.param}_project")
    run(sys.executable, "-m", "venv", "--without-pip", project / "venv", cwd=project)
    python = project / "venv/bin/python"
    ask = "import sysconfig; print(sysconfig.get_path('purelib'))"
    packages = Path(run(python, "-c", ask, cwd=project)[0].strip())
    # A path named in a .pth file is searched, but its own .pth files, of an editable install, not.
    (packages / "third_party.pth").write_text(sysconfig.get_path("purelib") + "\n")
    pip = (sys.executable, "-m", "pip", "--python", python, "install", "-q", "--no-deps")
    if request.param == "wheel":
        run(*pip, request.getfixturevalue("wheel"), cwd=project)
        return python, packages / "marlserve"
    run(*pip, "--no-build-isolation", "-e", source, cwd=project)
    return python, source


@pytest.fixture(scope="module")
def checkpoint(ray_session, tmp_path_factory) -> tuple[str, float]:
    """A checkpoint with one remote env runner, made from the checkout, and its checksum.

    Of a problem without kernels: they would be compiled anew for the other project.
    """
    config = policies.config("ppo", problem="contextual_bandit")
    config.env_runners(num_env_runners=1, rollout_fragment_length=32)
    algorithm = config.build_algo()
    algorithm.train()
    folder = algorithm.save_to_path(tmp_path_factory.mktemp("checkpoint"))
    weights = elsewhere.checksum(algorithm.env_runner)
    algorithm.stop()
    return folder, weights


def test_every_folder_with_modules_is_a_declared_package():
    folders = {name.rpartition(".")[0] for name in SOURCES}
    assert sorted(lines("options", "packages")) == sorted(folders)


@pytest.mark.slow
def test_the_wheel_holds_every_module_all_data_and_nothing_else(wheel):
    names = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert names == {f"{name.replace('.', '/')}.py" for name in SOURCES} | DATA
    assert "marlserve/envs/sims/kv_compression/small_llama/model.safetensors" in names


@pytest.mark.slow
def test_a_release_is_the_same_everywhere(sdist, wheel):
    version = marlserve.__version__
    assert sdist.name == f"marlserve-{version}.tar.gz"
    assert wheel.name == f"marlserve-{version}-py3-none-any.whl"
    assert f"\nversion: {version}\n" in (ROOT / "CITATION.cff").read_text()
    newest = re.findall(r"^## \[(.+)\] - (\S+)$", (ROOT / "CHANGELOG.md").read_text(), re.M)[0]
    assert newest[0] == version
    assert f"\ndate-released: {newest[1]}\n" in (ROOT / "CITATION.cff").read_text()


@pytest.mark.slow
def test_every_module_imports_in_another_project(installed, tmp_path):
    """Of the editable install every package is found: its modules are those of the checkout."""
    python, origin = installed
    whole = origin.name == "marlserve"
    names = MODULES if whole else lines("options", "packages")
    output, errors = run(python, "-c", IMPORT_ALL if whole else FIND_ALL, *names, cwd=tmp_path)
    files = output.splitlines()
    assert len(files) == len(names)
    assert [file for file in files if not Path(file).is_relative_to(origin)] == []
    assert errors == ""


def test_every_problem_has_a_script():
    scripts = {line.split(" = ")[0] for line in lines("options.entry_points", "console_scripts")}
    assert {f"marlserve-{name.replace('_', '-')}" for name in envs.names()} <= scripts


@pytest.mark.slow
@pytest.mark.parametrize("installed", ["wheel"], indirect=True)
def test_scripts_run_in_another_project(installed, tmp_path):
    python, _ = installed
    scripts = {path.name for path in python.parent.glob("marlserve-*")}
    named = dict(line.split(" = ") for line in lines("options.entry_points", "console_scripts"))
    assert scripts == set(named)
    for module, main in (target.split(":") for target in named.values()):
        assert callable(getattr(import_module(module), main))
    output, _ = run(python.parent / "marlserve-kv-cache", "train", "--help", cwd=tmp_path)
    assert "--num-servers" in output


@pytest.mark.slow
@pytest.mark.parametrize("installed", ["wheel"], indirect=True)
def test_a_checkpoint_restores_quietly_in_another_project(installed, checkpoint, tmp_path):
    python, origin = installed
    folder, weights = checkpoint
    output, errors = run(python, elsewhere.__file__, folder, cwd=tmp_path)
    worker_origin, *restored = output.splitlines()
    assert Path(worker_origin).is_relative_to(origin)
    assert restored == [repr(weights)] * 2  # in the local and the remote env runner
    noise = re.findall(r"(?i).*(?:warning|deprecat|API stack|token auth|gputil).*", errors)
    assert noise == []


@pytest.mark.parametrize("folder", ["traces", "envs", "policies", "experiments", "serving"])
def test_a_source_folder_is_no_package_of_its_own(folder):
    code = [sys.executable, "-c", f"import {folder}"]
    done = subprocess.run(code, cwd=ROOT, text=True, capture_output=True)
    assert done.returncode == 1
    assert f"ImportError: {folder}/ is the source folder of marlserve.{folder}" in done.stderr


def test_tested_versions_satisfy_the_lower_bounds():
    pins = constraints()
    for need in requirements():
        (exact,) = pins[need.name.lower()].specifier
        assert exact.operator == "=="
        assert need.specifier.contains(exact.version), f"{need} against {exact}"
        assert {bound.operator for bound in need.specifier} == {">="}


def test_tested_versions_are_the_running_ones():
    pins = constraints()
    running = {need.name.lower(): version(need.name) for need in requirements()}
    wrong = {
        name: found for name, found in running.items() if not pins[name].specifier.contains(found)
    }
    assert wrong == {}


def test_tested_versions_are_for_every_machine():
    for pin in constraints().values():
        assert pin.url is None
        assert "+" not in str(pin.specifier), f"{pin} is a build for one kind of machine"
