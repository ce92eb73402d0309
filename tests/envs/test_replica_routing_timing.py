"""Replica routing with the timing of an engine that was measured."""

import json
from dataclasses import asdict, replace

import numpy as np
import pytest
from routing_episodes import SHORT, played

from marlserve.envs.replica_routing import Config, Measured
from marlserve.envs.replica_routing.observation import estimates
from marlserve.envs.sims.replica_timing import TableTiming, pass_ns

TIMING = TableTiming((1.0, 64.0, 8_192.0), (6.0, 9.0, 900.0), 3e-5, 1e-7)


def written(path, timing=TIMING) -> str:
    path.write_text(json.dumps(asdict(timing)))
    return str(path)


def test_passes_take_what_was_measured_and_gateways_estimate_by_it(tmp_path):
    config = Config(**SHORT, timing_path=written(tmp_path / "timing.json"), load=(0.1, 0.1))
    assert [one.timing for one in config.engines] == [TIMING] * 4
    nothing, tokens = np.zeros(4), 8_000
    seen = Measured(*[nothing] * len(Measured._fields))._replace(
        speed=np.array(config.rates), request_prompt_tokens=np.array(tokens)
    )
    about = estimates(seen, config)
    taken_s = pass_ns(TIMING.row(), 1.0, tokens, 0, 0, 0) / 1e9
    np.testing.assert_allclose(about.wait_s, taken_s, rtol=0.05)
    next_s = pass_ns(TIMING.row(), 1.0, 0, 0, 1, tokens) / 1e9
    np.testing.assert_allclose(about.token_s, next_s, rtol=1e-6)
    twice = TableTiming(TIMING.tokens, tuple(2 * ms for ms in TIMING.ms), 6e-5, 2e-7)
    slower = replace(config, timing_path=written(tmp_path / "twice.json", twice))
    (_, slow), (_, usual) = played(slower), played(config)
    assert slow.sum() < 1.5 * usual.sum() < 0.0  # costs


def test_one_point_is_enough(tmp_path):
    one = TableTiming((1.0,), (5.0,))
    lines = Config(timing_path=written(tmp_path / "one.json", one)).lines
    assert lines.per_new_s == 0.0
    assert lines.decode_s == pytest.approx(0.005)


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("no JSON", "JSONDecodeError"),
        ("[1]", "expected is an object of"),
        ('{"tokens": [1], "ms": [1], "colour": 1}', "expected is an object of"),
        ('{"tokens": [1]}', "KeyError"),
        ('{"tokens": [2, 1], "ms": [1, 2]}', "they must rise"),
        ('{"tokens": [1], "ms": ["many"]}', "could not convert"),
    ],
)
def test_what_is_no_timing_is_refused(text, what, tmp_path):
    path = tmp_path / "timing.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=f"timing.json holds no timing of an engine: .*{what}"):
        Config(timing_path=str(path))
    with pytest.raises(ValueError, match="nowhere.json holds no timing"):
        Config(timing_path=str(tmp_path / "nowhere.json"))


def test_gpus_have_timings_of_their_own(tmp_path):
    path = written(tmp_path / "timing.json")
    with pytest.raises(ValueError, match="timing_path is '.*allowed is none on GPUs"):
        Config(gpus=("h100",) * 4, timing_path=path)
