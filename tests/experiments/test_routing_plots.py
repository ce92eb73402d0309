"""What the plots of routing show, and the load sweep that one of them draws."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from marlserve.envs.replica_routing import DEGRADED, Problem
from marlserve.envs.sims import replica_arrays as has
from marlserve.envs.sims.gateways import CHANGE, DRAIN
from marlserve.experiments import replica_routing
from marlserve.experiments.studies.replica_routing.fault_timeline import (
    Fault,
    fault_in,
    means_by_arrival,
    prompt_tokens_at,
)


def test_the_fault_shown_has_its_surroundings_within_the_episode():
    config = replace(DEGRADED, warm_up_s=10.0, episode_s=100.0)
    changes = np.array(
        [
            *((5e9, 0, 0.0), (8e9, 0, 1.0), (27e9, 1, 1.0), (30e9, 2, 4.0)),
            *((33e9, 1, DRAIN), (40e9, 2, 1.0), (95e9, 1, 1.0)),
        ],
        CHANGE,
    )
    speeds = np.ones(4)
    assert fault_in(config, changes, speeds) == Fault(2, "is slow", 30.0, 40.0)
    assert fault_in(config, changes[[2, 4, 6]], speeds) is None  # it ends too late
    longer = replace(config, episode_s=200.0)
    assert fault_in(longer, changes[[2, 4, 6]], speeds) == Fault(1, "drains", 33.0, 95.0)
    assert fault_in(config, changes[:0], speeds) is None


def test_tokens_and_times_are_those_of_requests():
    requests = np.zeros(3, has.REQUEST)
    requests["prompt_tokens"] = [100, 30, 7]
    requests["arrival_ns"], requests["last_token_ns"] = [0, 1e9, 5e9], [2e9, 4e9, 9e9]
    requests["status"], requests["replica"] = has.COMPLETED, [1, 1, 0]
    found = prompt_tokens_at(requests, 2, np.array([0.5, 1.5, 3.0, 4.5, 6.0]))
    assert found.tolist() == [[0, 100], [0, 130], [0, 30], [0, 0], [7, 0]]
    means = means_by_arrival(requests, "last_token_ns", np.array([0.0, 2.0, 4.0, 6.0]))
    np.testing.assert_array_equal(means, [2.5, np.nan, 4.0])


def test_a_problem_tells_its_changes():
    problem = Problem(replace(DEGRADED, change_every_s=5.0, change_s=(1.0, 2.0)), 2)
    problem.reset([0, 1])
    assert [len(changes) > 10 for changes in problem.changes] == [True, True]
    assert (problem.changes[0]["time_ns"][:5] != problem.changes[1]["time_ns"][:5]).all()


@pytest.mark.slow
def test_loads_are_played_and_drawn(tmp_path):
    often = ["--change-every-s", "15", "--episode-s", "90", "--warm-up-s", "2"]
    short = [*often, "--out", str(tmp_path)]
    sweep = ["--loads", "0.3", "0.6", "--policies", "least_requests", "kv_cost", "--episodes", "2"]
    assert replica_routing.main(["loads", "--preset", "degraded", *short, *sweep]) == 0
    (folder,) = (tmp_path / "replica_routing").iterdir()
    rows = pd.read_csv(folder / "loads.csv")
    counts = rows.groupby(["load", "policy"]).size()
    assert counts.to_dict() == {
        (load, policy): 2 for load in (0.3, 0.6) for policy in ("least_requests", "kv_cost")
    }
    waits_s = rows.groupby("load")["mean_ttft_s"].mean()
    assert waits_s[0.3] < waits_s[0.6]
    (folder / "plots" / "over_load.png").unlink()
    assert replica_routing.main(["plot", "--presets", "degraded", *short]) == 0
    names = {file.name for file in (folder / "plots").iterdir()}
    assert names == {"over_load.png", "fault_timeline.png"}
