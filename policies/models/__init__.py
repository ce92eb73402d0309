"""The torch networks and RLModules of the algorithms.

- `gru`: recurrent (or feed-forward) networks, flat or one pass per action component; `recurrent`:
  how modules act with them, and learn from rows
- `q_agent`: such a network as the RLModule of one policy of QMIX
- `mixing`: how the values of all agents become one
- `joint`: the MultiRLModule that runs the agents of a team and mixes their values
- `dqn`, `sac`, `td3`: the RLModules of these algorithms, of feed-forward networks of `mlp`
- `sac_gru`: that of SAC with networks of `gru`; `soft_actor_critic`: what both of SAC share
- `neural_linear`, `neural_ucb`: those of the contextual bandits, of which `bandit` has what they
  share; their uncertainty is of `full_confidence` or `diagonal_confidence`
- `masks`: what may be chosen, and the best of it, for all of them
- `actor_critic`: the RLModule of PPO and A2C, which draws from `action_distributions`; its networks
  are in `actor_critic_networks`
"""

if __name__ != "marlserve.policies.models":
    raise ImportError(
        "policies/models/ is the source folder of marlserve.policies.models; "
        f"import that, not {__name__}"
    )
