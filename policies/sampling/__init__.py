"""Fast multi-agent sampling: B environment copies as arrays, from the simulator to the replay.

- `sequences`: what is sampled, rows of synchronised steps of all agents
- `replay`: a ring of such rows
- `runner`: the RLlib `EnvRunner` that samples them, one forward pass per module and step
- `environment`, `acting`, `actions`, `rollout`, `episodes`, `counts`, `reporting`: its parts
- `module_actor`: how one module is asked for actions, here and by whoever plays a checkpoint
- `parallel_batch`: any third-party PettingZoo `ParallelEnv` as a batch environment
- `multi_agent_env`: PettingZoo environments and our problems as RLlib `MultiAgentEnv` classes
- `gymnasium_env`: single-agent Gymnasium environments by id, as such a class
- `named_env`: which of these a name means
- `batch_env`: the interface of all batch environments; `own_spaces`, `joint_actions`: agents whose
  spaces differ share their arrays
"""

if __name__ != "marlserve.policies.sampling":
    raise ImportError(
        "policies/sampling/ is the source folder of marlserve.policies.sampling; "
        f"import that, not {__name__}"
    )
