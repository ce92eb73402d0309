"""RLlib's own algorithms learn for agents that act together, from real programs."""

import threading

import numpy as np
import pytest
from external_cases import agent_of, contract, fronted, steps, until
from gymnasium.spaces import Box, Discrete
from ray.rllib.algorithms.algorithm import Algorithm
from ray.rllib.algorithms.appo import APPOConfig
from ray.rllib.algorithms.dqn import DQNConfig
from ray.rllib.algorithms.ppo import PPOConfig
from trainer_process import Trainer, file_of

from marlserve.serving.client.agent import Agent
from marlserve.serving.client.rl4sys import client_settings
from marlserve.serving.trainer.algorithms import config_of
from marlserve.serving.trainer.external import external_team
from marlserve.serving.trainer.house_algorithms import Roles
from marlserve.serving.trainer.runners.team_episodes import TeamEpisodes
from marlserve.serving.wire.program import Program, read
from marlserve.serving.wire.seats import Seat
from marlserve.serving.wire.steps import GOES_ON, TERMINATED, Part

pytestmark = pytest.mark.timeout(600)
SEEN = Box(-2.0, 2.0, (2,), np.float32)
SPACES = {"left": (SEEN, Discrete(2)), "right": (SEEN, Discrete(3))}
ROLES = Roles({"left": "one", "right": "other"})
LENGTH = 10  # steps of an episode, in which a team can earn 2 each
SMALL = {
    "PPO": {"train_batch_size_per_learner": 400, "minibatch_size": 100, "lr": 3e-3, "gamma": 0.5},
    "DQN": {
        "num_steps_sampled_before_learning_starts": 100,
        "epsilon": [[0, 1.0], [1_500, 0.05]],
        "training_intensity": 8.0,  # an update for 4 steps; one for each by default
        "lr": 2e-3,
        "gamma": 0.5,
    },
    "APPO": {"train_batch_size_per_learner": 50},
    "SAC": {"num_steps_sampled_before_learning_starts": 64, "train_batch_size_per_learner": 16},
}


def part(count: int, total: int, value: float) -> Part:
    """Of an agent that acts in the first `count` steps."""
    seen = count + 1 if count else 0
    return Part(
        0.0,
        np.full((seen, 2), value, np.float32) + np.arange(seen, dtype=np.float32)[:, None] / 64,
        np.arange(count) % 2,
        np.arange(count, dtype=np.float32),
        None,
        np.full(count, -0.5, np.float32),
        np.zeros((count, 2), np.float32),
    )


def team_steps(left: int, right: int, **more):
    total = max(left, right)
    return steps(total, parts=(part(left, total, 0.0), part(right, total, 1.0)), **more)


def episodes() -> TeamEpisodes:
    seats = {agent: Seat(*both) for agent, both in SPACES.items()}
    return TeamEpisodes(contract(seats=seats), ROLES)


def test_a_fragment_is_an_episode_of_all_who_act():
    made = episodes().episode(team_steps(3, 3, ending=TERMINATED))
    assert (len(made), made.is_terminated, sorted(made.agent_ids)) == (3, True, ["left", "right"])
    assert [made.module_for(agent) for agent in ("left", "right")] == ["one", "other"]
    for agent, own in zip(("left", "right"), team_steps(3, 3).parts, strict=True):
        alone = made.agent_episodes[agent]
        np.testing.assert_array_equal(alone.get_observations(), own.observations)
        np.testing.assert_array_equal(alone.get_actions(), own.actions)
        np.testing.assert_array_equal(alone.get_rewards(), own.rewards)
        chances = alone.get_extra_model_outputs("action_logp")
        np.testing.assert_array_equal(chances, own.log_probabilities)
        assert alone.is_terminated


def test_who_leaves_has_come_to_its_end_and_others_go_on():
    chunks = episodes()
    first = chunks.episode(team_steps(2, 4, ending=GOES_ON))
    assert first.agent_episodes["left"].is_terminated
    assert not first.agent_episodes["right"].is_done
    assert (len(first.agent_episodes["left"]), len(first.agent_episodes["right"])) == (2, 4)
    later = team_steps(0, 3, first_step=4, ending=TERMINATED)
    seen = later.parts[1].observations
    seen += 4 / 64  # it goes on where it was
    second = chunks.episode(later)
    assert second.id_ == first.id_
    first.concat_episode(second)  # as a replay does
    assert (first.is_terminated, len(first), len(first.agent_episodes["right"])) == (True, 7, 7)


def test_who_comes_back_is_in_another_episode():
    chunks = episodes()
    first = chunks.episode(team_steps(2, 4))
    later = team_steps(3, 3, first_step=4)
    for own in later.parts:
        own.observations[:] += 4 / 64
    assert chunks.episode(later).id_ != first.id_


def live(agent: Agent, is_enough) -> None:
    """Each sees in which of two states the world is, and earns 1 where its action is that one."""
    random, team = np.random.default_rng(0), agent.team()
    while not is_enough():
        for _ in range(LENGTH):
            states = random.integers(2, size=2).tolist()
            seen = {
                name: np.array([state, 1 - state], np.float32)
                for name, state in zip(SPACES, states, strict=True)
            }
            decisions = team.act(seen)
            for decision, state in zip(decisions.values(), states, strict=True):
                decision.reward(float(decision.action == state))
        team.end(terminated=True)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "kind"), [("PPO", "onpolicy"), ("DQN", "offpolicy")])
def test_a_trainers_process_learns_for_a_team(name, kind, tmp_path):
    """Blind actions earn 8.3 of the 20 that there are."""
    config = file_of(
        tmp_path,
        client_id="team",
        algorithm_name=name,
        type=kind,
        algorithm_parameters={"input_size": 2, "act_dim": 2, "seed": 0} | SMALL[name],
        agents={"left": "one", "right": "other"},
        policies={"other": {"action_space": {"type": "Discrete", "n": 3, "start": 0}}},
    )
    trainer = Trainer(config)
    try:
        with Agent(client_settings(read(config))) as agent:
            assert agent.wait_for_policy(180)

            def has_learned() -> bool:
                means = [x["return_mean"] for x in trainer.progress()]
                return bool(means) and (means[-1] or 0.0) >= 16.0

            live(agent, has_learned)
            assert agent.outbox.lost.keys() <= {"stale"}
        assert trainer.end() == 0
    finally:
        trainer.kill()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["APPO", "SAC", "PPO", "DQN"])
def test_what_was_learned_for_a_team_goes_on_from_a_checkpoint(name, ray_session, tmp_path):
    """All agents share a policy here."""
    program = Program(
        "policy",
        name,
        {"input_size": 2, "act_dim": 2, "seed": 0} | SMALL[name],
        agents={"left": "shared", "right": "shared"},
    )
    both = {agent: (SEEN, Discrete(2)) for agent in ("left", "right")}
    over = threading.Event()
    with fronted() as front:
        config = external_team(config_of(program), front.learner_config, "policy", both)
        config.reporting(min_time_s_per_iteration=None)
        algorithm = config.build_algo()
        agent = agent_of(front, most_steps=50, buffer_steps=100, when_full="wait")
        living = threading.Thread(
            target=lambda: agent.wait_for_policy(120) and live(agent, over.is_set), daemon=True
        )
        living.start()
        try:
            until(lambda: algorithm.train() and front.intakes["policy"].newest_version >= 3)
            assert front.intakes["policy"].dropped["invalid"] == 0
            algorithm.save_to_path(str(tmp_path / "saved"))
            steps_before = algorithm.env_runner.num_env_steps_sampled_lifetime
        finally:
            over.set()
            algorithm.stop()
            agent.close(0.2)
            living.join(60)
    again = Algorithm.from_checkpoint(str(tmp_path / "saved"))
    try:
        assert again.env_runner.num_env_steps_sampled_lifetime == steps_before > 0
        assert sorted(again.env_runner.module.keys()) == ["shared"]
    finally:
        again.stop()


def of(config, spaces=SPACES, state_size: int = 0):
    return external_team(config, {"address": "", "secret": ""}, "policy", spaces, state_size)


def two(config):
    return config.multi_agent(policies={"one", "other"}, policy_mapping_fn=ROLES)


@pytest.mark.parametrize(
    ("config", "what"),
    [
        (PPOConfig(), "give it policies and a policy_mapping_fn"),
        (two(DQNConfig()), "the replay buffer is PrioritizedEpisodeReplayBuffer"),
        (
            PPOConfig().multi_agent(policies={"one"}, policy_mapping_fn=ROLES),
            r"policy_mapping_fn gives \['other'\]; policies are \['one'\]",
        ),
        (
            APPOConfig().multi_agent(
                policies={"one"}, policy_mapping_fn=Roles(dict.fromkeys(SPACES, "one"))
            ),
            "left and right share policy 'one', but the action space",
        ),
        (
            two(DQNConfig()).training(
                replay_buffer_config={"type": "MultiAgentEpisodeReplayBuffer"}, num_atoms=5
            ),
            "num_atoms is 5",
        ),
    ],
)
def test_what_cannot_work_for_a_team_is_refused(config, what):
    with pytest.raises(ValueError, match=what):
        of(config)


def test_rllibs_own_learn_from_no_state_and_no_numbers():
    with pytest.raises(ValueError, match="state_size is 3; RLlib's PPO learns from no state"):
        of(two(PPOConfig()), state_size=3)
    numbers = SPACES | {"right": (SEEN, Box(-1.0, 1.0, (2,), np.float32))}
    with pytest.raises(ValueError, match="cannot be exported"):
        of(two(PPOConfig()), numbers)
