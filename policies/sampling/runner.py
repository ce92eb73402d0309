"""The vectorised `EnvRunner`: B copies of an environment, one forward pass per module and step.

It takes the place of RLlib's `MultiAgentEnvRunner` by `config.env_runners(env_runner_cls=...)`.

How it calls a module, once per step for all copies and all n agents that the policy mapping
gives it, under `torch.no_grad()` and with the module in eval mode:

    module._forward_exploration(batch, t=env_steps_sampled_so_far_by_all_runners)
    module._forward_inference(batch)                          # explore=False

    batch = {
        Columns.OBS:      [B*n, *O] tensor              # [B*n, 1, *O] for a stateful module
        "action_mask":    [B*n, H, A] float tensor      # [B*n, 1, H, A]; absent if all is legal
        Columns.STATE_IN: {"h": [B*n, *hidden]}         # stateful modules only
    }
    returns {
        Columns.ACTIONS:   [B*n, *C]                    # [B*n, 1, *C] for a stateful module
        Columns.STATE_OUT: {"h": [B*n, *hidden]}        # stateful modules only
    }

A module may return `Columns.ACTION_DIST_INPUTS` in place of `Columns.ACTIONS`; its distribution
class is then sampled. A module is stateful if `module.is_stateful()`; its hidden state is
`module.get_initial_state()["h"]`, without a batch axis, at the start of an episode.

The config attribute `sequence_length` is L of `sequences`. `get_spaces()` holds, beside RLlib's
own keys, `MIXER: (state_space, None)` for centralised training. `sample()` returns a list of one
`Sequences` with the rows that were completed, or an empty list if none was.
"""

MIXER = "__mixer__"
