"""A checkpoint plays: greedily, with memory, for many episodes, and says what is wrong with it."""

import pickle
import shutil

import numpy as np
import pytest
import torch
from ray.rllib.algorithms.ppo import PPOConfig
from recalling import own_policy, recall
from states import assert_same

from marlserve import policies
from marlserve.policies import qmix
from marlserve.policies.checkpoint import CheckpointPolicy

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("ray_session")]


@pytest.fixture(scope="module")
def run_folder(ray_session, tmp_path_factory):
    """A run folder with two policies, and what their networks answer."""
    folder = tmp_path_factory.mktemp("run")
    config = recall(sequence_length=8).multi_agent(
        policies={"of_a0", "of_a1"}, policy_mapping_fn=own_policy
    )
    algorithm = config.build_algo()
    for _ in range(3):
        algorithm.train()
    algorithm.save_to_path(folder / "checkpoint")
    modules = {name: algorithm.get_module(name) for name in ("of_a0", "of_a1")}
    yield folder, modules
    algorithm.stop()


def test_an_algorithm_is_restored_from_wherever_it_is(run_folder, tmp_path, monkeypatch):
    folder, modules = run_folder
    monkeypatch.chdir(folder.parent)
    for path in (folder.name, f"{folder.name}/checkpoint", folder):
        algorithm = policies.restore(path)
        assert isinstance(algorithm, qmix.QMIX)
        for name, module in modules.items():
            assert_same(algorithm.get_module(name).get_state(), module.get_state())
        algorithm.stop()
    (tmp_path / "run").mkdir()
    for name, seed in (("checkpoint", 1), ("best", 2)):
        algorithm = recall().debugging(seed=seed).build_algo()
        algorithm.save_to_path(tmp_path / "run" / name)
        algorithm.stop()
    for which, seed in ((None, 1), ("final", 1), ("best", 2)):
        algorithm = policies.restore(tmp_path / "run", which)
        assert algorithm.config.seed == seed
        algorithm.stop()
    with pytest.raises(ValueError, match="nowhere is not a folder"):
        policies.restore("nowhere")


def observations(seed, num_envs=1):
    random = np.random.default_rng(seed)
    return {a: random.normal(size=(num_envs, 6)).astype(np.float32) for a in ("a0", "a1")}


def test_a_checkpoint_plays_greedily_with_memory(run_folder):
    folder, modules = run_folder
    policy = CheckpointPolicy(folder)
    for _ in range(2):
        seen = [observations(t) for t in range(6)]
        for t in range(6):
            actions = policy(seen[t])
            for agent, action in actions.items():
                past = torch.tensor(np.array([o[agent] for o in seen[: t + 1]]))
                values, _ = modules[own_policy(agent)].network(past, torch.zeros(1, 16))
                assert action.shape == (1,)
                assert action == values[-1, 0, 0].argmax()
        policy.reset()


@pytest.mark.parametrize("mixer", ["vdn", "none"])
def test_checkpoints_without_a_mixing_network_play(mixer, ray_session, tmp_path):
    algorithm = recall(mixer=mixer).build_algo()
    algorithm.save_to_path(tmp_path)
    algorithm.stop()
    assert CheckpointPolicy(tmp_path)(observations(0)).keys() == {"a0", "a1"}


def test_a_checkpoint_plays_many_episodes_as_it_plays_one(run_folder):
    folder, _ = run_folder
    together, alone = CheckpointPolicy(folder / "checkpoint"), CheckpointPolicy(folder)
    seen = [observations(t, 3) for t in range(5)]
    many = [together(o) for o in seen]
    for copy in range(3):
        alone.reset()
        for t, o in enumerate(seen):
            for agent, action in alone({a: x[[copy]] for a, x in o.items()}).items():
                assert action == many[t][agent][copy]


def test_a_checkpoint_obeys_masks(run_folder):
    policy = CheckpointPolicy(run_folder[0])
    masks = {agent: np.eye(4, dtype=bool)[[[2], [1], [3]]] for agent in ("a0", "a1")}
    actions = policy(observations(0, 3), masks)
    assert all(a.tolist() == [2, 1, 3] for a in actions.values())
    with pytest.raises(ValueError, match=r"mask of a1 has shape \(3, 4\); expected is \(3, 1, 4\)"):
        policy(observations(0, 3), {**masks, "a1": masks["a1"][:, 0]})
    with pytest.raises(ValueError, match=r"no mask of a1; there are \['a0'\]"):
        policy(observations(0, 3), {"a0": masks["a0"]})


def test_bad_observations_are_refused(run_folder):
    policy = CheckpointPolicy(run_folder[0])
    with pytest.raises(ValueError, match=r"\(6,\), without a batch axis; .*observation\[None"):
        policy({"a0": np.zeros(6)})
    for shape in ((5,), (3, 5), (2, 3, 6)):
        with pytest.raises(ValueError, match=r"observation of a0 has .* expected is \[B, 6\]"):
            policy({"a0": np.zeros(shape)})
    with pytest.raises(ValueError, match="not finite"):
        policy({"a0": np.full((1, 6), np.nan)})
    with pytest.raises(ValueError, match="'b7' is played by policy 'of_b7'"):
        policy({"b7": np.zeros((1, 6))})
    policy.reset()
    policy(observations(0))
    with pytest.raises(ValueError, match="batch axis of 2; since the last reset.* it is 1"):
        policy(observations(0, 2))


def test_broken_checkpoints_say_what_is_wrong(run_folder, tmp_path):
    with pytest.raises(ValueError, match=r"nowhere is not a folder"):
        CheckpointPolicy(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="neither a run folder nor a checkpoint"):
        CheckpointPolicy(tmp_path)
    with pytest.raises(ValueError, match="not the checkpoint of an algorithm"):
        CheckpointPolicy(run_folder[0] / "checkpoint" / "learner_group")
    weights = "learner_group/learner/rl_module/of_a1/module_state.pkl"
    for number, (file, spoil, message) in enumerate(
        [
            ("class_and_ctor_args.pkl", lambda f: f.write_bytes(b"what"), "cannot be read"),
            ("class_and_ctor_args.pkl", lambda f: f.write_bytes(pickle.dumps({})), "config of an"),
            (weights, lambda f: f.unlink(), "incomplete: there is no"),
            (weights, lambda f: f.write_bytes(f.read_bytes()[:99]), "cannot be read"),
            (weights, lambda f: f.write_bytes(pickle.dumps({})), "policy that can act"),
        ]
    ):
        copy = shutil.copytree(run_folder[0], tmp_path / str(number))
        spoil(copy / "checkpoint" / file)
        with pytest.raises(ValueError, match=message) as error:
            CheckpointPolicy(copy)
        assert str(copy) in str(error.value)


def test_a_checkpoint_of_rllibs_own_algorithms_plays(tmp_path):
    algorithm = (
        PPOConfig()
        .environment("CartPole-v1")
        .env_runners(num_env_runners=0)
        .rl_module(model_config={"fcnet_hiddens": [8]})
    ).build_algo()
    algorithm.save_to_path(tmp_path)
    seen = np.random.default_rng(0).normal(size=(20, 4)).astype(np.float32)
    logits = algorithm.get_module().forward_inference({"obs": torch.from_numpy(seen)})
    algorithm.stop()
    actions = CheckpointPolicy(tmp_path)({"player": seen})["player"]
    np.testing.assert_array_equal(actions, logits["action_dist_inputs"].argmax(-1))


@pytest.mark.parametrize("shared", [True, False])
def test_a_memory_of_rllibs_own_algorithms_has_several_parts(shared, tmp_path):
    network = {"fcnet_hiddens": [8], "use_lstm": True, "lstm_cell_size": 4}
    algorithm = (
        PPOConfig()
        .environment("CartPole-v1")
        .env_runners(num_env_runners=0)
        .rl_module(model_config=network | {"vf_share_layers": shared})
    ).build_algo()
    algorithm.save_to_path(tmp_path)
    module = algorithm.get_module()
    algorithm.stop()
    if not shared:  # the parts of actor and critic are dicts of parts
        with pytest.raises(ValueError, match=r"'default_policy' has parts \['actor', 'critic'\]"):
            CheckpointPolicy(tmp_path)
        return
    seen = np.random.default_rng(0).normal(scale=9, size=(20, 3, 4)).astype(np.float32)
    states = {k: v.expand(3, *v.shape) for k, v in module.get_initial_state().items()}
    assert states.keys() == {"h", "c"}
    policy = CheckpointPolicy(tmp_path)
    for step in seen:
        out = module.forward_inference({"obs": torch.tensor(step)[:, None], "state_in": states})
        states = out["state_out"]
        expected = out["action_dist_inputs"][:, 0].argmax(-1)
        np.testing.assert_array_equal(policy({"player": step})["player"], expected)


@pytest.mark.parametrize("network", ["auto", "flat"])
def test_what_was_trained_on_four_replicas_plays_nine_in_any_order(network, tmp_path):
    algorithm = policies.config("ppo", problem="replica_routing", network=network).build_algo()
    algorithm.save_to_path(tmp_path)
    algorithm.stop()
    if network == "flat":
        with pytest.raises(
            ValueError, match="does not hold a policy that can act: .*size mismatch"
        ):
            CheckpointPolicy(tmp_path, num_components=9)
        return
    rng, policy = np.random.default_rng(0), CheckpointPolicy(tmp_path, num_components=9)
    seen = rng.random((50, 9, 24), np.float32)
    chosen, order = policy({"gateway_0": seen})["gateway_0"], rng.permutation(9)
    assert len(set(chosen)) > 3
    permuted = policy({"gateway_0": seen[:, order]})["gateway_0"]
    np.testing.assert_array_equal(order[permuted], chosen)
    legal = np.zeros((50, 1, 9), bool)
    legal[..., 8] = True
    assert (policy({"gateway_0": seen}, {"gateway_0": legal})["gateway_0"] == 8).all()


def test_components_are_needed_for_more_of_them(run_folder):
    with pytest.raises(ValueError, match="have no components that there could be 3 of"):
        CheckpointPolicy(run_folder[0], num_components=3)
