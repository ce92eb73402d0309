"""The house rules that a parser can check: who imports whom, and the shape of every file."""

import ast
import re
from configparser import ConfigParser
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from marlserve import envs

ROOT = Path(__file__).parents[2]
FOLDERS = ("traces", "envs", "policies", "experiments")
LAYERS = ("traces", "envs.sims", "envs", "policies", "experiments")
MODULES = sorted(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py"))
FILES = sorted([ROOT / "marlserve/__init__.py", *MODULES, *(ROOT / "tests").rglob("*.py")])
TEXTS = [
    *FILES,
    *(ROOT / name for name in ("setup.cfg", "pyproject.toml", "constraints.txt", "Makefile")),
    *(ROOT / ".ci").iterdir(),
    *ROOT.glob("*.md"),
]


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def layer(name: str) -> str | None:
    """The layer of a dotted name below `marlserve.`: "envs.sims.cluster" is in "envs.sims"."""
    return next((x for x in ("envs.sims", *FOLDERS) if f"{name}.".startswith(f"{x}.")), None)


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


def imports_of(path: Path) -> set[str]:
    return imports(ast.parse(path.read_text(), relative(path)))


def modules_of(*layers: str) -> list[Path]:
    dotted = {path: ".".join(path.relative_to(ROOT).with_suffix("").parts) for path in MODULES}
    return [path for path in MODULES if layer(dotted[path]) in layers]


def from_marlserve(path: Path) -> set[str]:
    """What a module imports of ours: "envs.base.Problem" for marlserve.envs.base.Problem."""
    ours = {name for name in imports_of(path) if name.startswith("marlserve.")}
    return {name.removeprefix("marlserve.") for name in ours}


def packages_of(path: Path) -> set[str]:
    return {name.partition(".")[0] for name in imports_of(path)}


@pytest.mark.parametrize("above", LAYERS)
def test_a_layer_imports_only_from_its_left(above):
    allowed = LAYERS[: LAYERS.index(above) + 1]
    wrong = [
        f"{relative(path)} imports marlserve.{name}"
        for path in modules_of(above)
        for name in from_marlserve(path)
        if layer(name) not in (*allowed, None)
    ]
    assert wrong == []


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
    tree = ast.parse((ROOT / "envs/__init__.py").read_text())
    rest = [x for x in tree.body if not (isinstance(x, ast.FunctionDef) and x.name == "register")]
    assert not any(
        name.startswith("ray.") for name in imports(ast.Module(body=rest, type_ignores=[]))
    )


def test_policies_know_no_particular_problem():
    problems = tuple(f"envs.{name}" for name in envs.names())
    wrong = [
        f"{relative(path)} imports marlserve.{name}"
        for path in modules_of("policies")
        for name in from_marlserve(path)
        if f"{name}.".startswith(tuple(f"{problem}." for problem in problems))
    ]
    assert wrong == []


def test_what_is_imported_is_declared():
    """Modules import what an extra installs in functions only: they load without it."""
    setup, distributions = ConfigParser(), packages_distributions()
    setup.read(ROOT / "setup.cfg")
    needed = _names(setup["options"]["install_requires"])
    extras = {name: _names(text) for name, text in setup["options.extras_require"].items()}
    optional = needed.union(*(names for name, names in extras.items() if name != "test"))
    undeclared = []
    for path in FILES:
        tree = ast.parse(path.read_text())
        functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
        late = {name for function in functions for name in imports(function)}
        for dotted in imports(tree):
            declared = optional if dotted in late else needed
            declared = declared if path in MODULES else optional | extras["test"]
            name = dotted.partition(".")[0]
            found = map(canonicalize_name, distributions.get(name, declared))
            if name != "marlserve" and not declared & set(found):
                undeclared.append(f"{relative(path)} imports {name}")
    assert undeclared == []


def _names(requirements: str) -> set[str]:
    lines = filter(None, requirements.split("\n"))
    return {canonicalize_name(Requirement(line).name) for line in lines}


@pytest.mark.parametrize("folder", FOLDERS)
def test_a_package_refuses_a_second_name(folder):
    body = ast.parse((ROOT / folder / "__init__.py").read_text()).body
    first = body[1] if ast.get_docstring(ast.Module(body=body, type_ignores=[])) else body[0]
    assert ast.unparse(first).startswith(f"if __name__ != 'marlserve.{folder}':\n    raise")


def test_every_file_has_its_manual():
    def bare(tree: ast.Module) -> bool:
        return all(isinstance(node, ast.If) for node in tree.body)  # empty, or only the guard

    trees = {relative(path): ast.parse(path.read_text()) for path in FILES}
    assert [p for p, t in trees.items() if not (ast.get_docstring(t) or bare(t))] == []


def test_no_file_is_longer_than_300_lines():
    lengths = {relative(path): len(path.read_text().splitlines()) for path in FILES}
    assert {path: length for path, length in lengths.items() if length > 300} == {}


def test_no_file_is_named_for_nothing():
    empty_words = {"utils", "util", "common", "helper", "helpers", "manager", "misc"}
    assert [p for p in map(relative, FILES) if empty_words & set(re.split(r"[/_.]", p))] == []


def test_no_text_knows_this_machine():
    local = re.compile(r"(?<![\w.~$}])/(work|root|home|opt|Users)\b")
    assert [relative(path) for path in TEXTS if local.search(path.read_text())] == []
