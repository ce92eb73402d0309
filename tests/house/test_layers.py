"""The house rules that a parser can check: who imports whom, and the shape of every file."""

import ast
import re
import sys
from configparser import ConfigParser
from functools import cache
from graphlib import CycleError, TopologicalSorter
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from marlserve import envs

ROOT = Path(__file__).parents[2]
FOLDERS = ("traces", "envs", "policies", "experiments", "serving")
# A module is of the longest of these that its name begins with, and imports from its left.
LAYERS = (
    "traces",
    "envs.sims",
    "envs",
    "policies.session",
    "policies.sampling",
    "policies.models",
    "policies.training",
    "policies",  # the algorithms, and checkpoint
    "policies.export",
    "experiments.harness",
    "experiments.reports",
    "experiments.studies",
    "experiments.benchmarks",
    "experiments.testbed",
    "experiments",  # the scripts
    "serving.decisions",
    "serving.experience",
    "serving.policy_store",
    "serving.replica_state",
    "serving.training",
    "serving.service",
    "serving.agent",
    "serving.gateway",
    "serving.trials",
    "serving.shared_memory",
    "serving.native",
    "serving.controller",
    "serving.wire",
    "serving.client",
    "serving.trainer",
    "serving",
)
APART = {"experiments": "serving", "serving": "experiments"}  # neither imports from the other
# Who may import a module of ours inside a function, and why.
LATE = {
    "policies": "policies.export acts without Ray, which is loaded where a problem is given to it",
    "policies.export": "a policy file acts without torch and Ray, which only making one needs",
    "experiments.benchmarks.kv_compression": "its rows need an extra, the other parts do not",
}
MODULES = sorted(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py"))
FILES = sorted([ROOT / "marlserve/__init__.py", *MODULES, *(ROOT / "tests").rglob("*.py")])
TEXTS = [
    *FILES,
    *(ROOT / name for name in ("setup.cfg", "pyproject.toml", "constraints.txt", "Makefile")),
    *(ROOT / ".ci").iterdir(),
    *ROOT.glob("*.md"),
]
# What is of no use without an extra, and says so when it is imported.
OWN = {
    "envs/sims/kv_compression": "kv_compression",
    "serving/experience/log.py": "serve",
    "serving/experience/stream.py": "serve",
    "serving/training/process.py": "serve",
    "serving/service": "serve",
    "serving/agent": "serve",
    "serving/trainer/metrics.py": "serve",
    "serving/trainer/process.py": "serve",
    "serving/gateway": "serve",
    "serving/ray_router.py": "ray_serve",
    "serving/controller": "serve",
}


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def dotted(path: Path) -> str:
    """A module's name below `marlserve.`; a package is named by its folder."""
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


NAMES = {dotted(path): path for path in MODULES}


def layer(name: str) -> str | None:
    """The layer of a dotted name below `marlserve.`: "envs.sims.cluster" is in "envs.sims"."""
    return max((x for x in LAYERS if f"{name}.".startswith(f"{x}.")), key=len, default=None)


def imports(tree: ast.AST) -> set[str]:
    """Every dotted name that is imported anywhere below `tree`, inside functions too."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: imports are absolute, from marlserve"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(), relative(path))


@cache
def imports_of(path: Path) -> set[str]:
    return imports(parsed(path))


def late_imports(tree: ast.AST) -> set[str]:
    """Those inside functions."""
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
    return set().union(*(imports(node) for node in ast.walk(tree) if isinstance(node, kinds)))


def modules_of(*layers: str) -> list[Path]:
    """Those of the layers, and of what lies below them."""
    below = tuple(f"{x}." for x in layers)
    return [path for name, path in NAMES.items() if f"{name}.".startswith(below)]


def ours(names: set[str]) -> set[str]:
    """The modules among imported names: "envs.base" of "marlserve.envs.base.Problem"."""
    found = set()
    for name in names:
        first, _, rest = name.partition(".")
        while rest and rest not in NAMES:
            rest = rest.rpartition(".")[0]
        if first == "marlserve" and rest:
            found.add(rest)
    return found


def packages_of(path: Path) -> set[str]:
    return {name.partition(".")[0] for name in imports_of(path)}


@pytest.mark.parametrize("above", LAYERS)
def test_a_layer_imports_only_from_its_left(above):
    allowed = LAYERS[: LAYERS.index(above) + 1]
    wrong = [
        f"{name} imports {other}"
        for name, path in NAMES.items()
        for other in ours(imports_of(path))
        if layer(name) == above and layer(other) not in allowed
    ]
    assert wrong == []


@pytest.mark.parametrize("folder", APART)
def test_experiments_and_serving_do_not_know_each_other(folder):
    wrong = [
        f"{relative(path)} imports {name}"
        for path in modules_of(folder)
        for name in ours(imports_of(path))
        if f"{name}.".startswith(f"{APART[folder]}.")
    ]
    assert wrong == []


@pytest.mark.parametrize("folder", ["policies", "experiments", "serving"])
def test_every_folder_has_its_layer(folder):
    packages = {path.parent for path in (ROOT / folder).glob("*/__init__.py")}
    assert {f"{folder}.{package.name}" for package in packages} <= {*LAYERS}


def test_no_imports_go_in_a_circle():
    """Not of one module with another, nor hidden inside functions."""
    graph = {name: ours(imports_of(path)) - {name} for name, path in NAMES.items()}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(f"{' imports '.join(reversed(error.args[1]))}")


def test_our_modules_are_imported_at_the_top():
    late = {name: ours(late_imports(parsed(path))) for name, path in NAMES.items()}
    assert {name: found for name, found in late.items() if found and name not in LATE} == {}


def test_scripts_run_by_path_hide_nothing():
    """Their folder comes first on `sys.path`: what lies there has names that no one else has."""
    modules = {path.stem for path in (ROOT / "experiments").glob("*.py")} - {"__init__"}
    folders = {path.name for path in (ROOT / "experiments").iterdir() if path.is_dir()}
    assert modules & folders == set()
    assert (modules | folders) & {*sys.stdlib_module_names, *packages_distributions()} == set()


def test_traces_and_simulators_know_nothing_of_learning():
    learning = {"gymnasium", "pettingzoo", "supersuit", "ray"}
    wrong = {
        relative(path): packages_of(path) & learning for path in modules_of("traces", "envs.sims")
    }
    assert {path: names for path, names in wrong.items() if names} == {}


def test_torch_runs_language_models_only_outside_of_policies():
    outside = modules_of("traces", "envs.sims", "envs")
    users = {relative(path) for path in outside if "torch" in packages_of(path)}
    language_models = ("envs/kv_compression/", "envs/sims/kv_compression/")
    assert users
    assert {path for path in users if not path.startswith(language_models)} == set()


def test_problems_meet_rllib_only_to_register():
    wrong = [relative(p) for p in modules_of("envs") if "ray" in packages_of(p)]
    assert wrong in ([], ["envs/__init__.py"])
    tree = parsed(ROOT / "envs/__init__.py")
    rest = [x for x in tree.body if not (isinstance(x, ast.FunctionDef) and x.name == "register")]
    assert not any(
        name.startswith("ray.") for name in imports(ast.Module(body=rest, type_ignores=[]))
    )


def test_policies_know_no_particular_problem():
    problems = tuple(f"envs.{name}." for name in envs.names())
    wrong = [
        f"{relative(path)} imports {name}"
        for path in modules_of("policies")
        for name in ours(imports_of(path))
        if f"{name}.".startswith(problems)
    ]
    assert wrong == []


def test_what_is_imported_is_declared():
    """What an extra installs is imported in functions, to check types, or in its own package."""
    setup, distributions = ConfigParser(), packages_distributions()
    setup.read(ROOT / "setup.cfg")
    needed = _names(setup["options"]["install_requires"])
    extras = {name: _names(text) for name, text in setup["options.extras_require"].items()}
    optional = needed.union(*(names for name, names in extras.items() if name != "test"))
    undeclared = []
    for path in FILES:
        tree = parsed(path)
        late = late_imports(tree).union(*map(imports, filter(_is_for_types, tree.body)))
        own = set().union(*(extras[OWN[x]] for x in OWN if path.is_relative_to(ROOT / x)))
        for imported in imports_of(path):
            declared = optional if imported in late else needed | own
            declared = declared if path in MODULES else optional | extras["test"]
            name = imported.partition(".")[0]
            found = map(canonicalize_name, distributions.get(name, declared))
            if name != "marlserve" and not declared & set(found):
                undeclared.append(f"{relative(path)} imports {name}")
    assert undeclared == []


def _is_for_types(node: ast.stmt) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"


def _names(requirements: str) -> set[str]:
    lines = filter(None, requirements.split("\n"))
    return {canonicalize_name(Requirement(line).name) for line in lines}


@pytest.mark.parametrize("folder", FOLDERS)
def test_a_package_refuses_a_second_name(folder):
    body = parsed(ROOT / folder / "__init__.py").body
    first = body[1] if ast.get_docstring(ast.Module(body=body, type_ignores=[])) else body[0]
    assert ast.unparse(first).startswith(f"if __name__ != 'marlserve.{folder}':\n    raise")


def test_every_file_has_its_manual():
    def bare(tree: ast.Module) -> bool:
        return all(isinstance(node, ast.If) for node in tree.body)  # empty, or only the guard

    trees = {relative(path): parsed(path) for path in FILES}
    assert [p for p, t in trees.items() if not (ast.get_docstring(t) or bare(t))] == []


def test_no_file_is_longer_than_300_lines():
    lengths = {relative(path): len(path.read_text().splitlines()) for path in FILES}
    made = "_pb2"  # by protoc
    long = {path: length for path, length in lengths.items() if length > 300 and made not in path}
    assert long == {}


def test_no_file_is_named_for_nothing():
    empty_words = {"utils", "util", "common", "helper", "helpers", "manager", "misc"}
    assert [p for p in map(relative, FILES) if empty_words & set(re.split(r"[/_.]", p))] == []


def test_no_text_knows_this_machine():
    local = re.compile(r"(?<![\w.~$}])/(work|root|home|opt|Users)\b")
    assert [relative(path) for path in TEXTS if local.search(path.read_text())] == []
