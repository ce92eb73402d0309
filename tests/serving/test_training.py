"""From a log to a policy that is served: learned, sound, saved, and in a process of its own."""

import json
from dataclasses import asdict

import numpy as np
import pytest
import torch
from filelock import FileLock
from replica_traffic import events, log_of
from serving_cases import policy_file

from marlserve import policies
from marlserve.envs.replica_routing.config import PRESETS
from marlserve.serving.decisions.player import Player
from marlserve.serving.experience.events import DECISION, joined
from marlserve.serving.experience.log import ExperienceLog
from marlserve.serving.policy_store import Current, PolicyStore
from marlserve.serving.replica_state import encoded, features, plain
from marlserve.serving.training.logged import AgentLog
from marlserve.serving.training.process import answer, run
from marlserve.serving.training.soundness import refusal
from marlserve.serving.training.trainer import Settings, Trainer
from marlserve.serving.training.transitions import stacked, transition

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def log(tmp_path_factory):
    return log_of(tmp_path_factory.mktemp("log") / "log.sqlite", 600)


def trainer_of(log, folder, **settings) -> Trainer:
    num_replicas = settings.pop("num_replicas", 3)
    known = {"gamma": 0.0, "publish_every": 200} | settings
    return Trainer(Settings(**known), AgentLog(num_replicas), PolicyStore(folder), log)


def test_it_learns_where_requests_are_served_soonest_and_publishes_it(log, tmp_path):
    trainer = trainer_of(log, tmp_path)
    assert trainer.train(batch_size=1000)["loss"] is None  # there are fewer
    first = trainer.train(64, 5)
    done = trainer.train(64, 395)
    assert done["loss"] < first["loss"] / 3
    assert (done["steps_done"], done["buffer_size"], done["unusable"]) == (400, 599, 0)
    assert done["epsilon"] == pytest.approx(0.995**400)
    store = trainer.store
    assert store.versions() == ["1", "2"]
    player = Player(store.read("2"), "2")
    assert player.features == features(3)
    rng, right = np.random.default_rng(5), 0
    for _ in range(200):
        loads = rng.permutation([1, 4, 9]).tolist()
        values = player.values(encoded(plain(loads, sum(loads), time_of_day=0.5)))
        right += int(np.argmax(values)) == int(np.argmin(loads))
    assert right >= 190


def test_it_goes_on_after_a_restart(log, tmp_path):
    trainer = trainer_of(log, tmp_path, save_every=20)
    trainer.train(64, 25)
    again = trainer_of(log, tmp_path)
    assert (again.steps_done, again.epsilon) == (20, pytest.approx(0.995**20))
    again.train(64, 1)
    assert again.progress()["buffer_size"] == 599  # from the log
    trainer.save()
    states = torch.rand(5, 10)
    same = trainer_of(log, tmp_path)._learner._learner.module["shared"].network(states)
    torch.testing.assert_close(same, trainer._learner._learner.module["shared"].network(states))


def test_it_begins_with_what_was_learned_in_the_simulator(log, tmp_path):
    run_of = {}
    for name, sizes in {"fits": [128] * 3, "small": [16]}.items():
        config = policies.config("dqn", hidden_sizes=sizes).environment(
            "replica_routing", env_config=asdict(PRESETS["source"])
        )
        algorithm = config.build_algo()
        run_of[name] = tmp_path / name
        algorithm.save_to_path(str(run_of[name]))
        weights = algorithm.get_module("shared").network.state_dict()
        algorithm.stop()
        if name == "fits":
            right = weights

    def started(start) -> Trainer:
        store = PolicyStore(tmp_path / "models")
        return Trainer(Settings(), AgentLog(3), store, log, start)

    trainer = started(run_of["fits"])
    assert trainer.epsilon == Settings().least_epsilon
    network = trainer._learner._learner.module["shared"].network
    torch.testing.assert_close(network.state_dict(), right)
    trainer.train(64, 5)
    trainer.save()
    assert started(run_of["fits"]).steps_done == 5  # it goes on where it was
    with pytest.raises(ValueError, match="small does not fit: "):
        Trainer(Settings(), AgentLog(3), PolicyStore(tmp_path / "others"), log, run_of["small"])
    with pytest.raises(ValueError, match="is neither a run folder nor a checkpoint"):
        started(tmp_path)


@pytest.mark.parametrize("how", ["cut", "other replicas"])
def test_what_cannot_be_restored_is_set_aside(how, log, tmp_path):
    trainer = trainer_of(log, tmp_path)
    trainer.train(64, 2)
    trainer.save()
    if how == "cut":
        for path in (tmp_path / "learner").rglob("*.pkl"):
            path.write_bytes(path.read_bytes()[:50])
    again = trainer_of(log, tmp_path, num_replicas=3 if how == "cut" else 2)
    assert (again.steps_done, again.epsilon) == (0, 1.0)
    assert len(list(tmp_path.glob("learner.broken-*"))) == 1


def test_weights_that_are_no_numbers_are_not_published(log, tmp_path):
    trainer = trainer_of(log, tmp_path)
    trainer.train(64, 2)
    with torch.no_grad():
        trainer._learner._learner.module["shared"].network.head.bias[0] = torch.nan
    assert trainer.publish() == ""
    assert "finite" in trainer.progress()["refused"]
    assert trainer.store.current() == Current("", False)


def test_collapsed_and_boundless_policies_are_refused():
    made = [event.body["state"] for event in events(200) if event.kind == DECISION]
    states = encoded(np.array(made))
    assert "collapsed" in refusal(policy_file([0.0, 1.0, 0.0]), states)
    assert "reach 2e+04" in refusal(policy_file([0.0, 2e4, 0.0]), states)
    assert refusal(policy_file([0.0, 1.0, 0.0]), states[:50]) == ""  # too few to tell
    with np.errstate(over="ignore"):
        assert "not finite" in refusal(policy_file([0.0, 0.0, 0.0], slope=3e38), states)


def test_what_teaches_nothing_is_counted(tmp_path):
    path = tmp_path / "log.sqlite"
    log = ExperienceLog(path)
    made = events(8)
    made[0].body["action"] = 3
    made[4].body["state"] = [1.0] * 9
    made[8].body["num_replicas"] = 2
    del made[12].body["state"]
    for event in made:
        log.put(event)
    log.close()
    trainer = trainer_of(path, tmp_path / "models")
    trainer.train(64)
    # Each broken decision is also what follows another one; the last has none that follows.
    assert trainer.progress()["buffer_size"] + trainer.progress()["unusable"] == 7
    assert trainer.progress()["buffer_size"] == 0
    with pytest.raises(ValueError, match="teaches nothing: .*action is 3"):
        transition(next(joined(path)), AgentLog(3))


def test_the_state_after_a_decision_is_that_of_the_next_request(log):
    found = [x for x in joined(log) if x.following is not None]
    arrays = stacked(transition(x, AgentLog(3)) for x in found)
    np.testing.assert_array_equal(arrays.next_observations[:-1], arrays.observations[1:])


def test_a_store_has_one_trainer(log, tmp_path):
    PolicyStore(tmp_path)
    with (
        FileLock(tmp_path / ".trainer.lock"),
        pytest.raises(ValueError, match="another trainer works for"),
    ):
        run(tmp_path, log)


def test_commands_are_answered(log, tmp_path):
    trainer = trainer_of(log, tmp_path)

    def told(**command) -> dict:
        return json.loads(json.dumps(answer(trainer, json.dumps(command)), allow_nan=False))

    assert told(command="train", batch_size=64, iterations=150)["steps_done"] == 150
    assert told(command="epsilon", value=0.5)["epsilon"] == 0.5
    assert "allowed is a number from 0 to 1" in told(command="epsilon", value=2)["error"]
    assert "is 'dance'" in told(command="dance")["error"]
    assert "error" in told(command="train")
    assert "error" in answer(trainer, "no JSON")
    saved = told(command="save")
    assert saved["refused"] == ""
    assert saved["version"] == trainer.store.current().version != ""
    assert told(command="progress")["steps_done"] == 150
