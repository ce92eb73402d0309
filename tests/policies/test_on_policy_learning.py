"""PPO and A2C learn: the identity in every action space, and PPO to swing up a pendulum."""

import pytest
from learning import learned

from marlserve import policies
from marlserve.policies.sampling.gymnasium_env import GymnasiumEnv
from marlserve.policies.sampling.multi_agent_env import PettingZooEnv

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("ray_session")]


@pytest.mark.parametrize("algorithm", ["ppo", "a2c"])
@pytest.mark.parametrize(
    ("space", "least"), [("discrete", 0.99), ("multi_discrete", 0.95), ("box", 0.9)]
)
def test_identity(algorithm, space, least):
    """One step; 1 for the action that is seen. By chance 1/3, 5/12, and about -1 in the box."""
    config = (
        policies.config(algorithm, lr=0.01)
        .environment(
            PettingZooEnv, env_config={"maker": "toys:Identity", "kwargs": {"space": space}}
        )
        .env_runners(num_envs_per_env_runner=32, rollout_fragment_length=8)
        .debugging(seed=0)
    )
    assert learned(config, 20_000, least, 300) > least


def test_pendulum():
    """Numbers as actions, rewards of -16 to 0 per step; random actions earn about -1200."""
    config = (
        policies.config("ppo", gamma=0.9, lr=1e-3, num_epochs=10)
        .environment(GymnasiumEnv, env_config={"id": "Pendulum-v1"})
        .debugging(seed=0)
    )
    assert learned(config, 66_000, -300, 30) > -300
