"""`validate` holds the simulator to recorded runs of an engine, and fails where one differs."""

import json
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from plain_engine import PlainEngine, Request

from marlserve.envs.sims.replica import Engine, Timing
from marlserve.experiments import replica_routing

RUN = {
    "name": "small",
    "trace": "small.jsonl",
    "workers": 2,
    "arrival_speedup": 2.0,
    "timing": "linear",
    "block_size": 64,
    "num_blocks": 24,
    "max_num_seqs": 4,
    "max_num_batched_tokens": 512,
    "prefix_caching": True,
}


@pytest.fixture
def reference(tmp_path):
    """A folder with what the plain engine serves, in place of an independent one."""
    rng = np.random.default_rng(0)
    rows = [
        {
            "timestamp": int(t),
            "input_length": int(rng.integers(1, 1025)),
            "output_length": int(rng.integers(1, 60)),
            "hash_ids": [int(rng.integers(4)), 100 + i],
        }
        for i, t in enumerate(np.sort(rng.integers(0, 20_000, 80)))
    ]
    engine = Engine(64, 24, 4, 512, True, Timing.linear(2.0, 0.01, 5.0, 1e-5))
    requests = []
    for worker in (0, 1):
        own = [
            Request(
                *(i, round((row["timestamp"] - rows[0]["timestamp"]) / 2 * 1e6)),
                *(row["input_length"], row["output_length"], tuple(row["hash_ids"])),
            )
            for i, row in enumerate(rows)
            if i % 2 == worker
        ]
        requests += PlainEngine(engine, chain_tokens=512).play(own)
    results = pd.DataFrame(
        {
            "request": x.number,
            "worker": x.number % 2,
            "admit_ms": x.admitted[0][0] / 1e6,
            "first_token_ms": x.tokens_ns[0] / 1e6,
            "last_token_ms": x.tokens_ns[-1] / 1e6,
            "reused_tokens": max(reused for _, reused in x.admitted),
            "readmissions": len(x.admitted) - 1,
        }
        for x in sorted(requests, key=lambda x: x.number)
    )
    (tmp_path / "small.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (tmp_path / "runs.json").write_text(json.dumps([RUN]))
    results.to_csv(tmp_path / "small.csv", index=False)
    return tmp_path


def validate(folder, capsys):
    status = replica_routing.main(["validate", "--reference", str(folder)])
    said = capsys.readouterr()
    return status, said.out, said.err


def test_equal_runs_pass(reference, capsys):
    status, table, errors = validate(reference, capsys)
    assert (status, errors) == (0, "")
    assert table.count("100.00 / 100.00") == 3
    readmissions = pd.read_csv(reference / "small.csv")["readmissions"].sum()
    assert readmissions > 0
    assert f"| {readmissions} / {readmissions} |" in table


def test_one_request_that_differs_fails(reference, capsys):
    results = pd.read_csv(reference / "small.csv")
    results.loc[7, "last_token_ms"] += 2.0
    results.to_csv(reference / "small.csv", index=False)
    status, table, errors = validate(reference, capsys)
    assert status == 2
    assert "98.75 / 98.75" in table
    assert "a request of small is more than 1 ms off" in errors


def without(folder, column, row):
    results = pd.read_csv(folder / "small.csv").astype({column: float})
    results.loc[row, column] = np.nan
    results.to_csv(folder / "small.csv", index=False)


def test_rows_may_come_in_any_order(reference, capsys):
    results = pd.read_csv(reference / "small.csv").sample(frac=1.0, random_state=0)
    results.to_csv(reference / "small.csv", index=False)
    assert validate(reference, capsys)[0] == 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda folder: (folder / "runs.json").unlink(), "there is no"),
        (
            lambda folder: (folder / "runs.json").write_text("{}"),
            "is no list of runs",
        ),
        (
            lambda folder: (folder / "runs.json").write_text(json.dumps([RUN | {"timing": "x"}])),
            "timing is 'x'; allowed are",
        ),
        (lambda folder: (folder / "small.csv").write_text("request\n0\n"), "has no column worker"),
        (lambda folder: without(folder, "last_token_ms", 3), "row 3: there is no last_token_ms"),
        (lambda folder: without(folder, "request", 3), "row 3: there is no request"),
    ],
)
def test_what_is_no_reference_is_named(reference, capsys, change, message):
    change(reference)
    status, _, errors = validate(reference, capsys)
    assert status == 2
    assert message in errors


@pytest.mark.skipif("MARLSERVE_DATA" not in os.environ, reason="MARLSERVE_DATA is not set")
def test_an_independent_engine_serves_alike(capsys):
    status, table, _ = validate(Path(os.environ["MARLSERVE_DATA"], "replica_reference"), capsys)
    assert status == 0
    assert table.count("100.00 / 100.00 | 100.00 / 100.00 | 100.00 / 100.00 | 100.00 |") == 13
