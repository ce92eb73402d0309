"""The commands that all problems share: flags, their help, and mistakes."""

import contextlib
from dataclasses import dataclass, fields, replace
from importlib import import_module

import pytest

from marlserve import envs
from marlserve.experiments.harness.flags import changes_of, comments, given, with_choices, words
from marlserve.experiments.studies import commands
from marlserve.experiments.studies.options import SourceFlags, asked, merged

PROBLEMS = (
    "contextual_bandit",
    "kv_cache",
    "job_scheduling",
    "kv_compression",
    "load_balance",
    "replica_routing",
)
SCRIPTS = {name: import_module(f"marlserve.experiments.{name}") for name in PROBLEMS}
EVERY = [
    (name, command)
    for name in PROBLEMS
    for command in commands.COMMANDS
    if command not in (*SCRIPTS[name].STUDY.lacks, "export")  # which knows the problem by its run
]


@dataclass(frozen=True)
class Config:
    servers: int = 2  # how many (or few)
    reward: str = "latency"  # what is learned from
    limit: int | None = 32  # None: no limit
    kinds: tuple[str, ...] = ("a",)  # of flows
    deny: bool = True  # whether it may


@dataclass(frozen=True)
class Doing:
    """What it does."""

    presets: tuple[str, ...] = ()  # on what
    episodes: int = 3  # to play
    problem: object = None


def test_what_is_not_given_is_as_in_the_preset():
    changes = changes_of(Config, {"reward": ("latency", "jain"), "kinds": ("a", "b")})
    assert given(changes()) == {}
    assert given(changes(limit=None, deny=False)) == {"limit": None, "deny": False}
    assert comments(Config)["servers"] == "how many (or few)"


def read(command, argv):
    import tyro

    return tyro.cli(command, args=argv, config=(tyro.conf.OmitArgPrefixes,))


def test_a_command_has_the_choices_of_a_study(capsys):
    groups = {"problem": changes_of(Config, {"reward": ("latency", "jain")})}
    defaults, aliases = {"presets": ("one",)}, {"episodes": ("--n-eval-episodes",)}
    made = with_choices(Doing, {"presets": ("one", "two")}, aliases, groups, defaults)
    assert (made().presets, made().episodes, made.__doc__) == (("one",), 3, "What it does.")
    line = ["--preset", "two", "--n-eval-episodes", "5", "--limit", "None", "--deny", "False"]
    found = read(made, line)
    assert (found.presets, found.episodes) == (("two",), 5)
    assert given(found.problem) == {"limit": None, "deny": False}
    for line in (["--presets", "three"], ["--reward", "fame"], ["--deny", "maybe"]):
        with pytest.raises(SystemExit):
            read(made, line)
    capsys.readouterr()
    with pytest.raises(SystemExit):
        read(made, ["--help"])
    text = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert "--reward {latency,jain,preset} what is learned from (default: preset)" in text
    assert "to play; --n-eval-episodes: the source system's name (default: 3)" in text


def test_flags_set_what_they_say():
    values = {"num_servers": 20, "enable_deny": False, "load": [0.5, 0.6], "x": None}
    line = "--num-servers 20 --enable-deny False --load 0.5 0.6 --x None"
    assert words(values) == line.split()


@dataclass(frozen=True)
class Halved(SourceFlags):
    half: int | None = None

    def fields(self, standard):
        return {} if self.half is None else {"servers": 2 * self.half}


def test_two_names_of_one_field_are_an_error():
    changes = changes_of(Config, {})
    made = with_choices(Doing, {}, {}, {"problem": changes}, {})()
    command = replace(made, problem=changes(servers=3))
    object.__setattr__(command, "source", Halved())
    assert asked(Config(), command).servers == 3
    object.__setattr__(command, "source", Halved(half=2))
    with pytest.raises(ValueError, match="servers is given as 3, and as 4 by another name"):
        asked(Config(), command)
    own = {"env_steps": None, "settings": {"lr": 1.0}}
    assert merged(own, {"env_steps": 3, "settings": {"x": 2}}) == {
        "env_steps": 3,
        "settings": {"lr": 1.0, "x": 2},
    }
    with pytest.raises(ValueError, match="env_steps is 4, and 3 by another name of it"):
        merged({"env_steps": 4}, {"env_steps": 3})


@pytest.mark.parametrize(("problem", "command"), EVERY)
def test_help_teaches(problem, command, capsys):
    """Every field of the Config is a flag with a comment, and choices are listed."""
    study = SCRIPTS[problem].STUDY
    with pytest.raises(SystemExit) as end:
        SCRIPTS[problem].main([command, "--help"])
    assert end.value.code == 0
    text = " ".join(capsys.readouterr().out.replace("│", " ").split())
    for x in fields(envs.module(problem).Config):
        assert f"--{x.name.replace('_', '-')}" in text
    for name in (
        *study.presets,
        *(study.candidates if command in ("train", "compare", "sweep") else ()),
    ):
        assert name in text
    for values in study.choices.values():
        assert ",".join(map(str, values)) in text.replace(", ", ",")


@pytest.mark.parametrize("problem", PROBLEMS)
def test_the_choices_are_those_of_the_config(problem):
    """What is not listed is refused; what is, is accepted, or needs other fields as well."""
    study, config = SCRIPTS[problem].STUDY, envs.module(problem).Config()
    for name, values in study.choices.items():
        with pytest.raises(ValueError, match=name):
            replace(config, **{name: "nothing of the sort"})
        accepted = 0
        for value in values:
            if isinstance(getattr(config, name), tuple):  # one for each replica
                value = (value,) * config.num_replicas
            with contextlib.suppress(ValueError):  # some ask for other fields, too
                accepted += getattr(replace(config, **{name: value}), name) == value
        assert accepted


@pytest.mark.parametrize("problem", PROBLEMS)
def test_every_candidate_makes_an_experiment_of_every_preset(problem, monkeypatch):
    study = SCRIPTS[problem].STUDY
    for preset in study.presets:
        for candidate in study.candidates:
            if preset == "grid" and "inspector" in candidate:  # who looks at one cluster
                with pytest.raises(ValueError, match="action is 'inspect'; allowed is 'choose'"):
                    study.experiment(preset, candidate, seed=3)
                continue
            # As what a Config keeps, of what follows from its fields.
            monkeypatch.setitem(vars(study.presets[preset]), "kept", object())
            experiment = study.experiment(preset, candidate, seed=3)
            assert (experiment.preset, experiment.name) == (preset, candidate)
            assert (experiment.based_on, experiment.candidate) == (preset, candidate)
            experiment.config().validate()


@pytest.mark.parametrize("problem", PROBLEMS)
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("train --env-steps 0", "env_steps is 0"),
        ("train --jobs 0", "jobs is 0; it must be at least 1"),
        ("train --settings no_such=1", "no_such"),
        ("train --settings no_such", "settings has 'no_such'; expected name=value"),
        ("train --evaluate-every -5", "evaluate_every is -5"),
        ("train --resume {tmp}/none", "is not a folder; expected one of a run"),
        ("train --seeds 0 1 --save-path {tmp}/x", "save_path is for one run"),
        ("compare --episodes 0", "episodes is 0; it must be at least 1"),
        ("plot", "there is no folder"),
    ],
)
def test_a_mistake_is_one_line(problem, arguments, message, tmp_path, capsys):
    line = [word.format(tmp=tmp_path) for word in arguments.split()]
    assert SCRIPTS[problem].main([*line, "--out", str(tmp_path / "out")]) == 2
    errors = capsys.readouterr().err
    assert errors.startswith("error: ")
    assert message in errors
    assert len(errors.strip().splitlines()) == 1
    assert not list(tmp_path.rglob("experiment.json"))


def test_a_file_that_is_not_there_is_named_before_the_work(tmp_path, capsys):
    line = ["train", "--trace", "flows", "--trace-path", str(tmp_path / "none.csv")]
    assert SCRIPTS["load_balance"].main([*line, "--out", str(tmp_path)]) == 2
    assert "there is no such file or folder" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_further_commands_have_the_choices_too():
    from marlserve.experiments.load_balance import FURTHER, STUDY

    made = commands.of(STUDY, "ablate", FURTHER["ablate"])
    assert (made().preset, made().algorithm, made().episodes) == ("degraded", "qmix", 100)
