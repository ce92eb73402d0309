"""Where requests were sent, written for other engines."""

import json

import numpy as np
import pandas as pd
import pytest

from marlserve.envs.replica_routing import LONG
from marlserve.envs.sims.replica import Replicas
from marlserve.experiments import replica_routing
from marlserve.traces import llm_requests


@pytest.mark.slow
@pytest.mark.parametrize("preset", ["long", "shifting", "chat"])
def test_an_engine_that_replays_them_serves_as_the_episode_did(preset, tmp_path):
    flags = ["--preset", preset, "--episode-s", "10", "--warm-up-s", "0", "--phase-s", "4"]
    same = ["--speeds", "1", "1", "1", "1"]
    done = replica_routing.main(["assign", *flags, *same, "--to", str(tmp_path)])
    assert done == 0
    about = json.loads((tmp_path / "episode.json").read_text())
    assert about["speeds"] == [1.0] * 4
    block_tokens = about["block_tokens"]
    requests = llm_requests.load(path=tmp_path / "requests.jsonl", block_tokens=block_tokens)
    rows = pd.read_csv(tmp_path / "assignments.csv")
    assert rows["request"].tolist() == list(range(len(requests)))
    assert set(rows["worker"]) == {0, 1, 2, 3}
    longest = int((requests["prompt_tokens"] + requests["output_tokens"]).max())
    replicas = Replicas(1, LONG.engines, chain_tokens=requests.block_tokens, max_tokens=longest)
    replicas.reset(
        *(0, requests["prompt_tokens"], requests["output_tokens"]),
        *(requests.block_starts, requests.chain_nodes),
    )
    arrival_ns = np.rint(requests.time_s * 1e9)
    replicas.play(rows["worker"].to_numpy()[None], arrival_ns[None])
    served = replicas.requests[0]
    e2e_s = ((served["last_token_ns"] - served["arrival_ns"]) / 1e9).mean()
    assert e2e_s == pytest.approx(about["metrics"]["mean_e2e_s"], rel=1e-9)


def test_one_policy_is_asked_for(capsys):
    assert replica_routing.main(["assign", "--policy", "all"]) == 2
    assert "policy is 'all'; expected one" in capsys.readouterr().err
