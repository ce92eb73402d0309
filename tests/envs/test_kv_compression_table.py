"""Tables of what becomes of prompts: made in parts, gone on with, refused if they do not fit."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from kv_compression_cases import NO_TEXT, built, start, step

from marlserve.envs.kv_compression import Config, Problem, observation, table
from marlserve.envs.kv_compression.live import OUTCOMES, Live
from marlserve.envs.kv_compression.table import Table, build, missing, training

TINY = Config(
    arms=("h2o", "tova", "h2o@16", "full"),
    budgets=(8, 12),
    num_prompts=10,
    prompt_tokens=96,
    num_facts=12,
)
FILES = [f"{split}-00000{first}.npz" for split in ("test", "train") for first in (0, 4, 8)]


@pytest.fixture(autouse=True)
def chunk(monkeypatch):
    monkeypatch.setattr(table, "CHUNK", 4)  # which 10 is no multiple of


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """A Config with its table, which is not to be changed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(table, "CHUNK", 4)
        return built(tmp_path_factory.mktemp("tiny"), TINY)


@pytest.fixture
def copied(tiny, tmp_path):
    """The same, to be changed."""
    shutil.copytree(tiny.table_path, tmp_path, dirs_exist_ok=True)
    return replace(tiny, table_path=str(tmp_path)), tmp_path


# What is in it ------------------------------------------------------------------------------------


@pytest.mark.parametrize("split", ["train", "test"])
def test_every_prompt_group_and_arm_is_in_it(tiny, split):
    config = replace(tiny, split=split)
    found, live = Table(config), Live(config)
    outcomes = found.all_outcomes()
    assert found.types == live.types
    assert {values.shape for values in outcomes.values()} == {(10, 4)}
    for index in range(10):
        assert found.type(index) == live.type(index)
        seen = live.measured(index)
        for group in NO_TEXT:
            expected = observation.group(seen, group, config)
            np.testing.assert_array_equal(found.context(index, group), expected)
        for name, values in live.outcomes(index, [3, 0, 2]).items():
            np.testing.assert_array_equal(found.outcomes(index, [3, 0, 2])[name], values)
            np.testing.assert_array_equal(outcomes[name][index][[3, 0, 2]], values)
    index = np.array([7, 7, 2])
    assert found.type(index).tolist() == [live.type(i) for i in index.tolist()]
    assert found.context(index, "diversity").shape == (3, 20)
    assert (outcomes["entries"][:, 3] == 96).all()
    assert set(outcomes["entries"][:, 0]) == {8, 12}


def test_one_table_serves_any_context_reward_and_price(tiny):
    for changes in ({"context": ("hidden",)}, {"reward": "cosine"}, {"entry_price": 0.01}):
        problem = start(replace(tiny, device="cpu", **changes), 4)
        problem.render(0, "ansi")
        assert np.isfinite(step(problem, 1)).all()


def test_it_serves_some_of_its_arms_in_any_order(tiny):
    some = replace(tiny, arms=("full", "h2o"))
    every, found = Table(tiny), Table(some)
    for name, values in every.all_outcomes().items():
        np.testing.assert_array_equal(found.all_outcomes()[name], values[:, [3, 0]])
        one = found.outcomes(np.array([4, 7]), np.array([0, 1]))[name]
        np.testing.assert_array_equal(one, [values[4, 3], values[7, 0]])
    assert missing(Path(tiny.table_path), some) == []
    with pytest.raises(ValueError, match=r"a table of more arms: go on with it by --arms .*'tova'"):
        build(Path(tiny.table_path), some, 0)


def test_its_arrays_are_shared_and_cannot_be_changed(tiny):
    one, other = Table(tiny), Table(replace(tiny, reward="cosine"))
    assert one.all_outcomes()["agreement"] is other.all_outcomes()["agreement"]
    with pytest.raises(ValueError, match="read-only"):
        one.all_outcomes()["agreement"][0, 0] = 2.0


def test_it_is_read_without_a_language_model(tiny, monkeypatch):
    monkeypatch.setattr("marlserve.envs.sims.kv_compression.language_model.load", None)
    problem = start(tiny, 4)
    step(problem, 0)
    assert (problem.metrics()["regret"] >= 0).all()


def test_training_prompts_are_those_of_the_training_split(tiny):
    one, other = training(tiny), training(replace(tiny, split="test"))
    assert one.all_outcomes()["agreement"] is other.all_outcomes()["agreement"]
    with pytest.raises(ValueError, match="table_path is ''; what learns .* needs a table of them"):
        training(TINY)


# Making one ---------------------------------------------------------------------------------------


def test_it_is_made_in_parts_and_gone_on_with(tmp_path):
    folder = tmp_path / "new" / "table"
    config = replace(TINY, arms=("h2o",), num_prompts=6)
    assert missing(folder, config) == [0, 4]
    build(folder, config, 4)
    assert missing(folder, config) == [0]
    assert missing(folder, replace(config, split="test")) == [0, 4]
    with pytest.raises(ValueError, match="table lacks the train prompts from 0 on: make-table goe"):
        Problem(replace(config, table_path=str(folder)))
    kept = (folder / "train-000004.npz").read_bytes()
    again = built(folder, config)
    assert missing(folder, config) == []
    assert (folder / "train-000004.npz").read_bytes() == kept
    assert Table(again).all_outcomes()["agreement"].shape == (6, 1)
    names = {"table.json", *(f"{x}-00000{y}.npz" for x in ("train", "test") for y in (0, 4))}
    assert {path.name for path in folder.iterdir()} == names


def test_the_remains_of_a_broken_off_file_do_no_harm(tmp_path):
    (tmp_path / ".table.json.7.new").write_text("{")
    (tmp_path / ".train-000000.npz.7.new").write_bytes(b"PK")
    config = replace(TINY, arms=("full",), num_prompts=1, context=("length",))
    assert missing(tmp_path, config) == [0]
    build(tmp_path, config, 0)
    assert Table(replace(config, table_path=str(tmp_path))).context(0, "length") == 1.0


def test_a_table_made_anew_in_the_same_folder_is_read_anew(copied):
    config, folder = copied
    before = Table(config)
    for path in folder.iterdir():
        path.unlink()
    after = Table(built(folder, replace(TINY, prompt_seed=1)))
    assert (before.context(0, "hidden") != after.context(0, "hidden")).any()


def test_there_may_be_others_to_learn_from(tmp_path, tiny):
    config = replace(TINY, arms=("h2o",), num_prompts=2, train_prompts=5)
    some = built(tmp_path / "more", config)
    assert len(training(some)) == 5
    assert len(Table(replace(some, split="test"))) == 2
    first = {name: values[:2] for name, values in training(some).all_outcomes().items()}
    for name, values in Table(replace(tiny, arms=("h2o",))).all_outcomes().items():
        np.testing.assert_array_equal(first[name], values[:2])


def test_a_table_of_an_earlier_version_knows_no_later_fields(copied):
    config, folder = copied
    described = json.loads((folder / "table.json").read_text())
    assert described.pop("train_prompts") == 0
    (folder / "table.json").write_text(json.dumps(described))
    Problem(config)
    with pytest.raises(ValueError, match="train_prompts is 0 there, 20 is asked for"):
        Problem(replace(config, train_prompts=20))


# What is refused ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"arms": ("h2o", "knorm")}, r"arms is \['h2o', 'tova', 'h2o@16', 'full'\] there"),
        ({"budgets": (8,)}, r"budgets is \[8, 12\] there, \[8\] is asked for"),
        ({"num_prompts": 9}, "num_prompts is 10 there, 9 is asked for"),
        ({"prompt_seed": 3}, "prompt_seed is 0 there, 3 is asked for"),
        ({"tagged": True}, "tagged is False there, True is asked for"),
        ({"model_name": "other"}, "model_name is 'small_llama' there, 'other' is asked for"),
    ],
)
def test_the_table_of_another_problem_is_refused(tiny, change, message):
    config, folder = replace(tiny, **change), Path(tiny.table_path)
    before = {path: path.read_bytes() for path in folder.iterdir()}
    for refused in (Problem, training, lambda x: build(folder, x, 0)):
        with pytest.raises(ValueError, match=f"{tiny.table_path} holds another table: {message}"):
            refused(config)
    assert {path: path.read_bytes() for path in folder.iterdir()} == before


def test_folders_without_a_table(tmp_path, tiny):
    for folder in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(ValueError, match="table_path is .*, which holds no table; allowed is"):
            Problem(replace(tiny, table_path=str(folder)))
    (tmp_path / "thesis.txt").write_text("42")
    for refused in (missing, lambda folder, config: build(folder, config, 0)):
        with pytest.raises(ValueError, match="holds something else than a table; choose another"):
            refused(tmp_path, TINY)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


@pytest.mark.parametrize("text", ["", "{", "[1]", "null"])
def test_a_broken_description_is_named(copied, text):
    config, folder = copied
    (folder / "table.json").write_text(text)
    with pytest.raises(ValueError, match="table.json is broken: "):
        Problem(config)


@pytest.mark.parametrize("bytes_", [b"", b"PK", b"not an array at all"])
def test_a_broken_file_is_named(copied, bytes_):
    config, folder = copied
    (folder / "train-000004.npz").write_bytes(bytes_)
    with pytest.raises(ValueError, match="train-000004.npz is broken: .*make-table writes it anew"):
        Problem(config)
    Problem(replace(config, split="test"))


def test_files_that_are_missing_or_of_another_size_are_refused(copied):
    config, folder = copied
    assert sorted(path.name for path in folder.iterdir()) == ["table.json", *FILES]
    (folder / "train-000008.npz").write_bytes((folder / "train-000004.npz").read_bytes())
    with pytest.raises(ValueError, match="is broken: its files have 12 prompts"):
        Problem(config)
    (folder / "train-000008.npz").unlink()
    with pytest.raises(ValueError, match="lacks the train prompts from 8 on: make-table goes on"):
        Problem(config)
    Problem(replace(config, split="test"))


def test_a_group_that_no_encoder_wrote_is_refused(copied):
    """As in a table of an earlier version."""
    config, folder = copied
    for path in folder.glob("*.npz"):
        with np.load(path) as file:
            left = {name: values for name, values in file.items() if name != "context:hidden"}
        np.savez_compressed(path, **left)
    Problem(config)
    with pytest.raises(ValueError, match="context has 'hidden', which .* lacks"):
        Problem(replace(config, context=("length", "hidden")))


def test_the_description_tells_what_it_is_a_table_of(tiny):
    described = json.loads((Path(tiny.table_path) / "table.json").read_text())
    assert described["arms"] == ["h2o", "tova", "h2o@16", "full"]
    assert not {"split", "device", "table_path", "reward", "context"} & set(described)
    assert set(OUTCOMES) <= set(np.load(Path(tiny.table_path) / FILES[0]))
