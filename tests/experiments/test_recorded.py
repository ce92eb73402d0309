"""`calibrate` and `validate` on what a real engine recorded; here a plain one, with its noise."""

import json
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from plain_engine import PlainEngine, Request

from marlserve.envs.sims.replica import Engine, TableTiming
from marlserve.experiments import replica_routing
from marlserve.experiments.studies.replica_routing import calibration

TIMING = TableTiming((1.0, 4.0, 64.0, 256.0), (30.0, 33.0, 110.0, 330.0), 0.004, 0.001)
OVERHEAD = {"send_to_schedule_ms": {"mean": 2.0}, "pass_end_to_client_ms": {"mean": 3.0}}
FLAGS = ["--block-size 32", "--max-num-seqs 4", "--max-num-batched-tokens 256", "--eager"]
FACTOR = 1.2


class TableEngine(PlainEngine):
    """Whose passes take as long as in TIMING, times a factor."""

    def length_ns(self, spans, lengths):
        total = sum(end - start for start, end in spans) + len(lengths)
        ms = np.interp(total, TIMING.tokens, TIMING.ms) + TIMING.per_context_ms * sum(lengths)
        ms += TIMING.per_attention_ms * attention(spans)
        return round(FACTOR * ms * 1e6)


def attention(spans):
    return sum((end - start) * start + (end - start) ** 2 // 2 for start, end in spans)


def passes_of(engine):
    return pd.DataFrame(
        {
            "start_ms": start / 1e6,
            "wall_ms": (end - start) / 1e6,
            "prefill_tokens": sum(last - first for first, last in spans),
            "prefill_att": attention(spans),
            "decode_seqs": len(lengths),
            "decode_ctx": sum(lengths),
            "waiting": waiting,
        }
        for start, end, spans, lengths, waiting in engine.passes
    )


@pytest.fixture
def recorded(tmp_path):
    """A folder of one run; requests take 0 to 4 ms to the engine."""
    rng = np.random.default_rng(0)
    sent_ms = np.sort(rng.integers(1, 60_000, 80))
    rows = [
        {
            "timestamp": int(t),
            "input_length": int(rng.integers(1, 500)),
            "output_length": int(rng.integers(2, 40)),
            "hash_ids": [int(rng.integers(4)), *(100 + 4 * i + np.arange(3)).tolist()],
        }
        for i, t in enumerate(sent_ms)
    ]
    engine = TableEngine(Engine(32, 63, 4, 256), chain_tokens=128)
    late_ms = rng.uniform(0.0, 4.0, len(rows))
    requests = [
        Request(
            *(i, round((row["timestamp"] + late) * 1e6), row["input_length"]),
            *(row["output_length"], tuple(row["hash_ids"])),
        )
        for i, (row, late) in enumerate(zip(rows, late_ms, strict=True))
    ]
    served = engine.play(requests)
    hits = sum(x.admitted[0][1] for x in served) / sum(x.prompt for x in served)
    run = {"run": "small", "trace": "small.jsonl", "kv_cache_tokens": 2048}
    run |= {"prefix_hit_ratio": hits, "machine_factor": FACTOR}
    described = {"engine": {}, "flags": FLAGS, "calibration": {"overhead": OVERHEAD}}
    described |= {"trace_block_tokens": 128, "runs": [run]}
    results = pd.DataFrame(
        {
            "request": x.number,
            "input_tokens": x.prompt,
            "output_tokens": x.output,
            "sent_ms": x.arrival_ns / 1e6 - late,
            "admitted_ms": x.admitted[0][0] / 1e6,
            "first_token_ms": x.tokens_ns[0] / 1e6 + 3.0,
            "last_token_ms": x.tokens_ns[-1] / 1e6 + 3.0,
        }
        for x, late in zip(served, late_ms, strict=True)
    )
    (tmp_path / "runs.json").write_text(json.dumps(described))
    (tmp_path / "small.jsonl").write_text("\n".join(map(json.dumps, rows)))
    results.to_csv(tmp_path / "small.csv", index=False)
    passes_of(engine).to_csv(tmp_path / "small.passes.csv", index=False)
    alone = passes_of(engine).assign(wall_ms=lambda x: x["wall_ms"] / FACTOR)
    alone.to_csv(tmp_path / "calibration_passes.csv", index=False)
    return tmp_path


def validate(folder, capsys):
    status = replica_routing.main(["validate", "--reference", str(folder)])
    said = capsys.readouterr()
    return status, said.out, said.err


def test_passes_are_found_to_take_what_they_take(recorded):
    rng = np.random.default_rng(0)
    passes = calibration.read(recorded / "calibration_passes.csv")
    noisy = passes.assign(wall_ms=passes["wall_ms"] * rng.normal(1.0, 0.02, len(passes)))
    noisy.loc[::50, "wall_ms"] *= 4.0  # something else was going on
    found = calibration.fitted(noisy)
    off = calibration.lengths_ms(found, passes) / passes["wall_ms"] - 1.0
    assert np.median(np.abs(off)) < 0.01
    assert np.quantile(np.abs(off), 0.95) < 0.04
    busy = noisy.assign(
        cpu_ms=passes["wall_ms"] - 1.0, wait_ms=noisy["wall_ms"] - passes["wall_ms"]
    )
    np.testing.assert_allclose(calibration.alone_ms(busy), passes["wall_ms"], rtol=1e-6)


@pytest.mark.slow
def test_what_was_recorded_is_predicted(recorded, capsys):
    status, table, errors = validate(recorded, capsys)
    assert (status, errors) == (0, "")
    driven, scaled, fitted = table.splitlines()[2:]
    assert "| driven |" in driven
    assert "| 100.0 |" in driven
    assert "| scaled |" in scaled
    assert fitted.count("| -") == 4  # faster, as it knows nothing of the factor


@pytest.mark.parametrize("column", ["first_token_ms", "last_token_ms"])
def test_what_an_engine_does_otherwise_is_named(recorded, capsys, column):
    results = pd.read_csv(recorded / "small.csv")
    results[column] += 100.0
    results.to_csv(recorded / "small.csv", index=False)
    status, _, errors = validate(recorded, capsys)
    assert status == 2
    name = {"first_token_ms": "TTFT", "last_token_ms": "e2e"}[column]
    assert f"small, driven: mean {name} is off by -" in errors


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda folder: changed(folder, "machine_factor"), "run 'small' has no machine_factor"),
        (
            lambda folder: (folder / "small.passes.csv").write_text("start_ms\n1\n"),
            "has no column wall_ms",
        ),
        (lambda folder: spoiled(folder, "last_token_ms", 3, np.nan), "row 3: last_token_ms is nan"),
        (lambda folder: spoiled(folder, "input_tokens", 3, 1), "request 3: input_tokens is 1, and"),
        (lambda folder: spoiled(folder, "sent_ms", 3, 0.0), "sent_ms falls"),
        (lambda folder: shortened(folder, "small.csv"), "has 80 requests, small.csv 40"),
        (lambda folder: shortened(folder, "small.passes.csv"), "the passes end before request"),
        (lambda folder: changed(folder, None, "flags"), "runs.json has no flags"),
    ],
)
def test_what_is_missing_is_named(recorded, capsys, change, message):
    change(recorded)
    status, _, errors = validate(recorded, capsys)
    assert status == 2
    assert message in errors


def spoiled(folder, column, row, value):
    rows = pd.read_csv(folder / "small.csv")
    rows[column] = rows[column].astype(float)
    rows.loc[row, column] = value
    rows.to_csv(folder / "small.csv", index=False)


def shortened(folder, name):
    rows = pd.read_csv(folder / name)
    rows[: 40 if name == "small.csv" else len(rows) // 2].to_csv(folder / name, index=False)


def changed(folder, name, of_all=None):
    described = json.loads((folder / "runs.json").read_text())
    if of_all:
        del described[of_all]
    else:
        del described["runs"][0][name]
    (folder / "runs.json").write_text(json.dumps(described))


def test_few_passes_that_are_noisy_are_not_left_out():
    """Beside many steady ones, as decoding is beside prompts."""
    rng = np.random.default_rng(0)
    total = np.concatenate((rng.integers(1, 9, 500), [96, 130, 250, 510, 1000, 2000, 4000, 8000]))
    noise = np.where(total < 50, 0.002, 0.05) * rng.standard_normal(len(total))
    passes = pd.DataFrame(
        {
            "wall_ms": (10.0 + 0.05 * total) * (1.0 + noise),
            "prefill_tokens": np.where(total > 50, total, 0),
            "prefill_att": 0,
            "decode_seqs": np.where(total > 50, 0, total),
            "decode_ctx": 0,
        }
    )
    found = calibration.fitted(passes)
    off = calibration.lengths_ms(found, passes) / (10.0 + 0.05 * total) - 1.0
    assert np.abs(off).max() < 0.2


def test_calibrate_prints_and_writes_the_timing(recorded, capsys):
    out = recorded / "timing.json"
    passes = recorded / "calibration_passes.csv"
    assert replica_routing.main(["calibrate", "--passes", str(passes), "--out", str(out)]) == 0
    assert "residuals: median 0.0" in capsys.readouterr().out
    found = TableTiming(**json.loads(out.read_text()))
    assert found.per_context_ms == pytest.approx(0.004, rel=0.05)
    assert replica_routing.main(["calibrate"]) == 2


@pytest.mark.skipif("MARLSERVE_DATA" not in os.environ, reason="MARLSERVE_DATA is not set")
def test_vllm_is_predicted(capsys):
    """Every request is admitted in the pass that vLLM admitted it in."""
    status, table, errors = validate(Path(os.environ["MARLSERVE_DATA"], "vllm_reference"), capsys)
    assert (status, errors) == (0, "")
    assert table.count("| 100.0 |") == 4
