"""The settings of the KV-compression problem: arms by name, presets, and what is refused."""

from dataclasses import replace

import numpy as np
import pytest

from marlserve.envs.kv_compression import GROUPS, PRESETS, REWARDS, Config, Problem
from marlserve.envs.kv_compression.arms import GRID, distinct, entries
from marlserve.envs.kv_compression.config import PROMPTS, TUNING_PROMPTS
from marlserve.envs.kv_compression.live import OUTCOMES


def test_names_of_arms():
    assert len(GRID) == len(set(GRID)) == 21
    arms = distinct(["sigmoid_0_4", "h2o@24", "a2sf_1@32", "full"], [16])
    assert [arm.method.name for arm in arms] == ["h2o", "h2o", "h2o", "full"]
    assert [arm.entries(20, 16) for arm in arms] == [16, 20, 20, 20]
    assert [arm.entries(100, 16) for arm in arms] == [16, 24, 32, 100]
    assert len(distinct(["h2o", "h2o@16"], [16, 24])) == 2


def test_budgets_may_be_shares_of_the_prompt():
    (arm,) = distinct(["h2o@0.05"], [16])
    assert [arm.entries(number, 16) for number in (1000, 30, 10)] == [50, 2, 1]
    assert [entries(number, 0.25) for number in (2, 1000)] == [1, 250]
    config = Config(budgets=(0.25, 8), num_prompts=4, arms=("h2o", "h2o@0.1"))
    found = Problem(config, 4)
    found.reset(range(4))
    found.step(np.array([[0], [1], [0], [0]]))
    assert found.metrics()["entries"][1] == 26
    assert set(found.metrics()["entries"][[0, 2, 3]]) <= {64, 8}


def test_presets_rewards_and_groups():
    assert [name for name, config in PRESETS.items() if not config.tagged] == ["untagged"]
    synthetic = [config for config in PRESETS.values() if not config.prompts_path]
    assert {config.prompt_seed for config in synthetic} == {PROMPTS} != {TUNING_PROMPTS}
    whole = PRESETS["smollm2"]
    for name in ("smollm2_5", "smollm2_10", "smollm2_25"):
        assert set(PRESETS[name].arms) < set(whole.arms)
        assert replace(PRESETS[name], arms=whole.arms) == whole
        assert {arm.budget for arm in PRESETS[name].parsed_arms()} == {int(name[8:]) / 100}
    assert set(REWARDS) < set(OUTCOMES)
    assert all(group.__doc__ for group in GROUPS.values())
    problem = Problem(Config(context=["length", "tag"], budgets=[8]))  # as read from JSON
    assert (problem.config.context, problem.config.budgets) == (("length", "tag"), (8,))
    assert problem.observation_space.shape == (6,)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"arms": ()}, "arms is empty; name at least one"),
        ({"arms": ("h2o", "fast")}, "'fast' is no compression method; there are .*'a2sf', 'ada'"),
        ({"arms": ("snapkv_0",)}, "'snapkv_0' is no .*window is 0; allowed is 1, 2"),
        ({"arms": ("h2o", "sigmoid_0_4")}, "arms 'h2o' and 'sigmoid_0_4' do the same"),
        ({"arms": ("h2o", "h2o@16")}, "arms 'h2o' and 'h2o@16' do the same"),
        ({"arms": ("h2o@0",)}, "arm 'h2o@0' has budget '0'; it must be at least 1 entry"),
        (
            {"arms": ("h2o@1.5",)},
            "arm 'h2o@1.5' has budget '1.5'; it must be .* or a share below 1",
        ),
        ({"arms": ("h2o@0.0",)}, "arm 'h2o@0.0' has budget '0.0'; it must be at least 1 entry, or"),
        ({"budgets": (1.0,)}, "budgets is .*; allowed is .*, or shares between 0 and 1"),
        ({"arms": ("h2o@",)}, "arm 'h2o@' has budget ''; it must be at least 1 entry"),
        ({"arms": ("full@8",)}, "arm 'full@8' has a budget, but evicts nothing; allowed is 'full'"),
        ({"arms": ("h2o@3",)}, "recent is 4; allowed is 0 to the budget, 3"),
        ({"budgets": ()}, r"budgets is \(\); allowed is one or more whole numbers from 1"),
        ({"budgets": (16, 8.0)}, r"budgets is \(16, 8.0\); allowed is one or more whole numbers"),
        (
            {"budgets": (16, 0)},
            r"budgets is \(16, 0\); allowed is one or more whole numbers from 1",
        ),
        ({"budgets": (16, 3)}, "recent is 4; allowed is 0 to the budget, 3"),
        ({"recent": -1}, "recent is -1; allowed is whole, at least 0"),
        ({"context": ()}, r"context is \(\); allowed is some of \('tag', 'length'"),
        ({"context": ("tag", "smell")}, "context is .*'smell'.*; allowed is some of"),
        ({"context": ("tag", "tag")}, "context is .*; allowed is each group once"),
        ({"context": ("text",)}, "context has 'text', which needs a text_encoder; it is ''"),
        ({"text_encoder": "some/model"}, "text_encoder is 'some/model', but synthetic prompts"),
        ({"reward": "rouge"}, r"reward is 'rouge'; allowed is one of \('agreement', 'cosine', "),
        ({"entry_price": -0.1}, "entry_price is -0.1; allowed is a number from 0"),
        ({"entry_price": float("nan")}, "entry_price is nan; allowed is a number from 0"),
        ({"split": "model"}, r"split is 'model'; allowed is one of \('train', 'validation'"),
        ({"num_prompts": 0}, "num_prompts is 0; allowed is whole, at least 1"),
        ({"num_prompts": 2.5}, "num_prompts is 2.5; allowed is whole, at least 1"),
        ({"num_prompts": True}, "num_prompts is True; allowed is whole, at least 1"),
        ({"arms": (16,)}, r"arms is \(16,\); allowed is a tuple of names"),
        ({"tagged": 1}, "tagged is 1; allowed is a bool"),
        ({"device": None}, "device is None; allowed is a str"),
        ({"max_prompt_tokens": 15}, "max_prompt_tokens is 15; allowed is whole, at least 16"),
        ({"prompt_tokens": 30}, "length is 30: too short for 24 facts"),
        ({"num_facts": 3}, "num_facts is 3; it must be at least 6"),
    ],
)
def test_bad_settings_are_errors(change, message):
    with pytest.raises(ValueError, match=message):
        Config(**change)


def test_models_that_cannot_be_had_are_errors(tmp_path):
    with pytest.raises(ValueError, match="model '.*nowhere' cannot be loaded; allowed is 'small_l"):
        Problem(Config(model_name=str(tmp_path / "nowhere")))
    with pytest.raises(ValueError, match="device 'abacus' cannot be used"):
        Problem(Config(device="abacus"))
