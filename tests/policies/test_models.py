"""Q-networks and mixers, without Ray."""

import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Discrete, MultiDiscrete
from hypothesis import given
from hypothesis import strategies as st
from ray.rllib.core.columns import Columns

from marlserve.policies.models.gru import FlatNetwork, PerComponentNetwork, make_network
from marlserve.policies.models.mixing import MixerModule, MonotonicMixer, ParameterFreeMixer
from marlserve.policies.models.q_agent import GREEDY, TARGET_VALUES, VALUES, QAgentModule
from marlserve.policies.session import quiet

quiet()
SERVERS = Box(-np.inf, np.inf, (5, 3)), MultiDiscrete([4] * 5)  # M = 5 components, F = 3
FLAT = Box(-np.inf, np.inf, (7,)), Discrete(3)
SPACES = {"servers": SERVERS, "flat": FLAT}


def agent_module(spaces=FLAT, inference_only=False, **settings):
    model_config = {
        "network": "auto",
        "hidden_size": 8,
        "use_gru": True,
        "embedding_size": 0,
        "epsilon": 0.5,
        "coherence": 0.0,
        "double_q": True,
        "burn_in": 0,
    }
    module = QAgentModule(
        observation_space=spaces[0],
        action_space=spaces[1],
        inference_only=inference_only,
        model_config=model_config | settings,
    )
    if not inference_only:
        module.make_target_networks()
    return module


@pytest.mark.parametrize("use_gru", [True, False])
@pytest.mark.parametrize("name", SPACES)
def test_values_have_one_head_per_component(name, use_gru):
    network = make_network(*SPACES[name], hidden_size=8, use_gru=use_gru, embedding_size=2)
    expected = (5, 4) if name == "servers" else (1, 3)
    hidden = torch.zeros(6, *network.hidden_shape) if use_gru else None
    values, after = network(torch.randn(9, 6, *SPACES[name][0].shape), hidden)
    assert values.shape == (9, 6, *expected)
    assert (after is None) == (not use_gru)
    if use_gru:
        assert after.shape == hidden.shape


def test_auto_chooses_by_the_shapes():
    assert isinstance(make_network(*SERVERS), PerComponentNetwork)
    assert isinstance(make_network(*SERVERS, network="flat"), FlatNetwork)
    assert isinstance(make_network(*FLAT), FlatNetwork)
    assert isinstance(make_network(SERVERS[0], MultiDiscrete([2, 2])), FlatNetwork)


@pytest.mark.parametrize(
    ("spaces", "network", "message"),
    [
        (FLAT, "per_component", "needs observations"),
        (FLAT, "transformer", "allowed are"),
        ((Discrete(3), Discrete(3)), "auto", "must be a Box"),
        ((FLAT[0], Box(-1, 1, (2,))), "auto", "play Discrete"),
    ],
)
def test_bad_networks_are_refused(spaces, network, message):
    with pytest.raises(ValueError, match=message):
        make_network(*spaces, network=network)


@pytest.mark.parametrize("name", SPACES)
def test_steps_of_a_gru_are_its_sequence(name):
    network = make_network(*SPACES[name], hidden_size=8, embedding_size=2)
    observations = torch.randn(10, 4, *SPACES[name][0].shape)
    hidden = torch.randn(4, *network.hidden_shape)
    whole, last = network(observations, hidden)
    for t, observation in enumerate(observations):
        values, hidden = network(observation[None], hidden)
        torch.testing.assert_close(values[0], whole[t])
    torch.testing.assert_close(hidden, last)


def test_large_batches_are_computed_alike_in_parts():
    network = make_network(Box(-9, 9, (24, 3)), MultiDiscrete([4] * 24), hidden_size=32)
    observations = torch.randn(17, 150, 24, 3)
    hidden = torch.randn(150, 24, 32)
    values, after = network(observations, hidden)
    some, some_after = network(observations[:, 97:103], hidden[97:103])
    torch.testing.assert_close(values[:, 97:103], some)
    torch.testing.assert_close(after[97:103], some_after)


@given(st.permutations(range(5)), st.integers(0, 2**16))
def test_components_are_equivariant_without_an_embedding(order, seed):
    torch.manual_seed(seed)
    network = make_network(*SERVERS, hidden_size=8)
    observations, hidden = torch.randn(6, 2, 5, 3), torch.randn(2, 5, 8)
    values, after = network(observations, hidden)
    permuted, permuted_after = network(observations[:, :, order], hidden[:, order])
    torch.testing.assert_close(permuted, values[:, :, order])
    torch.testing.assert_close(permuted_after, after[:, order])


@pytest.mark.parametrize("use_gru", [True, False])
def test_the_choice_of_one_follows_it_to_any_place_and_number(use_gru):
    network = make_network(Box(-9, 9, (5, 3)), Discrete(5), hidden_size=8, use_gru=use_gru)
    observations, order = torch.randn(6, 2, 5, 3), torch.randperm(5)
    hidden = torch.randn(2, 5, 8) if use_gru else None
    scores, _ = network(observations, hidden)
    assert scores.shape == (6, 2, 1, 5)
    permuted, _ = network(observations[:, :, order], hidden[:, order] if use_gru else None)
    torch.testing.assert_close(permuted, scores[..., order])
    many = make_network(Box(-9, 9, (64, 3)), Discrete(64), hidden_size=8, use_gru=use_gru)
    many.load_state_dict(network.state_dict())  # nothing in it depends on their number


def test_an_embedding_tells_components_apart():
    network = make_network(*SERVERS, hidden_size=8, embedding_size=2)
    values, _ = network(torch.ones(1, 1, 5, 3), torch.zeros(1, 5, 8))
    assert not torch.allclose(values[0, 0, 0], values[0, 0, 1])


def test_size_does_not_grow_with_the_components():
    def size(m):
        network = make_network(Box(-1, 1, (m, 3)), MultiDiscrete([4] * m))
        return sum(p.numel() for p in network.parameters())

    assert size(3) == size(24)


@given(st.integers(0, 2**16), st.integers(1, 12), st.integers(1, 6), st.floats(0.01, 100.0))
def test_mixing_is_monotonic(seed, num_values, state_size, scale):
    torch.manual_seed(seed)
    mixer = MonotonicMixer(num_values, state_size, mixing_size=8, hypernet_size=16)
    values = (scale * torch.randn(7, num_values)).requires_grad_()
    total = mixer(values, scale * torch.randn(7, state_size))
    assert total.shape == (7,)
    (gradient,) = torch.autograd.grad(total.sum(), values)
    assert (gradient >= 0).all()
    assert (gradient > 0).any()


def test_mixing_depends_on_the_state():
    mixer = MonotonicMixer(3, 2, mixing_size=8, hypernet_size=16)
    values = torch.randn(1, 3).expand(5, 3)
    assert mixer(values, torch.randn(5, 2)).std() > 1e-4


@pytest.mark.parametrize(("mixer", "shape"), [("vdn", (4, 2)), ("none", (4, 2, 6))])
def test_mixers_without_parameters(mixer, shape):
    module = ParameterFreeMixer(
        observation_space=Box(0, 1, (3,)), action_space=Discrete(1), model_config={"mixer": mixer}
    )
    values = torch.randn(4, 2, 6)
    mixed = module.forward_train({"values": values, "state": None})["mixed"]
    assert mixed.shape == shape
    torch.testing.assert_close(mixed, values.sum(-1) if mixer == "vdn" else values)


def test_a_mixer_module_starts_with_its_target():
    settings = {"num_values": 6, "mixing_size": 8, "hypernet_size": 16}
    module = MixerModule(
        observation_space=Box(0, 1, (3,)), action_space=Discrete(1), model_config=settings
    )
    module.make_target_networks()
    batch = {"values": torch.randn(4, 2, 6), "state": torch.randn(4, 2, 3)}
    online = module.forward_train(batch)["mixed"]
    torch.testing.assert_close(module.forward_target(batch)["mixed"], online)
    assert online.requires_grad
    assert not module.forward_target(batch)["mixed"].requires_grad


@pytest.mark.parametrize("use_gru", [True, False])
@pytest.mark.parametrize("name", SPACES)
def test_acting_is_greedy_and_follows_the_mask(name, use_gru):
    spaces = SPACES[name]
    module = agent_module(spaces, use_gru=use_gru, inference_only=True)
    heads = (5, 4) if name == "servers" else (1, 3)
    time = (1,) if use_gru else ()
    n = 50
    batch = {
        Columns.OBS: torch.randn(n, *time, *spaces[0].shape),
        "action_mask": (torch.rand(n, *time, *heads) < 0.5).float(),
    }
    batch["action_mask"][..., -1] = 1.0
    if use_gru:
        batch[Columns.STATE_IN] = {"h": torch.randn(n, *module.get_initial_state()["h"].shape)}
    for forward in (module.forward_inference, module.forward_exploration):
        out = forward(batch)
        actions = out[Columns.ACTIONS]
        assert actions.shape == (n, *time, *spaces[1].shape)
        actions = actions.reshape(n, *time, -1, 1)
        assert batch["action_mask"].gather(-1, actions).all()
        assert (Columns.STATE_OUT in out) == use_gru


def test_exploration_follows_its_schedule():
    module = agent_module(epsilon=[[0, 1.0], [100, 0.0]], use_gru=False)
    batch = {Columns.OBS: torch.randn(1, 7).expand(2000, 7)}
    greedy = module.forward_inference(batch)[Columns.ACTIONS]
    assert (greedy == greedy[0]).all()
    for t, share in ((0, 1.0), (50, 0.5), (100, 0.0), (10**6, 0.0)):
        actions = module.forward_exploration(batch, t=t)[Columns.ACTIONS]
        counts = torch.bincount(actions, minlength=3) / 2000
        others = counts.sum() - counts[greedy[0]]
        assert others == pytest.approx(share * 2 / 3, abs=0.05)


def test_components_of_unequal_size_choose_what_they_have():
    module = agent_module((FLAT[0], MultiDiscrete([2, 4, 1])), epsilon=1.0, use_gru=False)
    actions = module.forward_exploration({Columns.OBS: torch.randn(500, 7)})[Columns.ACTIONS]
    assert actions.amax(0).tolist() == [1, 3, 0]


@pytest.mark.parametrize("double_q", [True, False])
def test_training_values_and_greedy_choice(double_q):
    module = agent_module(double_q=double_q)
    with torch.no_grad():
        for parameter in module.target.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    batch = {
        Columns.OBS: torch.randn(6, 5, 2, 7),
        "hidden": torch.randn(6, 2, 8),
        "first": torch.zeros(6, dtype=torch.bool),
        "action_mask": torch.rand(6, 5, 2, 1, 3) < 0.5,
    }
    out = module.forward_train(batch)
    assert out[VALUES].shape == out[TARGET_VALUES].shape == (5, 6, 2, 1, 3)
    assert not out[TARGET_VALUES].requires_grad
    chooser = out[VALUES if double_q else TARGET_VALUES].detach()
    for t, r, i in np.ndindex(5, 6, 2):
        legal = batch["action_mask"][r, t, i, 0]
        best = max(
            (a for a in range(3) if legal[a]), key=lambda a: chooser[t, r, i, 0, a], default=0
        )
        assert out[GREEDY][t, r, i, 0] == best
    alone, _ = module.network(batch[Columns.OBS][2, :, 1][:, None], batch["hidden"][2, 1][None])
    torch.testing.assert_close(out[VALUES][:, 2, 1], alone[:, 0])


def test_a_burn_in_warms_up_the_memory_and_learns_nothing():
    observations = torch.randn(2, 5, 3, 7, requires_grad=True)
    batch = {
        Columns.OBS: observations,
        "hidden": torch.randn(2, 3, 8),
        "first": torch.tensor([False, True]),
    }
    values = agent_module(burn_in=2).forward_train(batch)[VALUES]
    values[2:].sum().backward()
    moved = observations.grad.abs().sum((2, 3)) > 0  # [R, T]
    assert moved.tolist() == [[False, False, True, True, True], [True] * 5]


def test_coherent_exploration_moves_components_alike_that_look_alike():
    module = agent_module(SERVERS, use_gru=False, epsilon=1.0, coherence=1.0)
    kinds = torch.tensor([0, 1, 0, 1, 1])
    observations = torch.randn(2, 3)[kinds].expand(6, 5, 3)  # six agents see two kinds of server
    seen = set()
    for _ in range(50):
        actions = module._forward_exploration({Columns.OBS: observations})[Columns.ACTIONS]
        of_kinds = actions[:, [0, 1]]
        assert torch.equal(actions, of_kinds[:, kinds])  # one choice per kind
        assert (of_kinds == of_kinds[0]).all()  # by all agents
        seen.add(tuple(of_kinds[0].tolist()))
    assert len(seen) > 5  # but another one at each step


def test_no_coherence_explores_each_component_by_itself():
    module = agent_module(SERVERS, use_gru=False, epsilon=1.0, coherence=0.0)
    observations = torch.zeros(200, 5, 3)
    actions = module._forward_exploration({Columns.OBS: observations})[Columns.ACTIONS]
    assert len({tuple(row) for row in actions.tolist()}) > 100
