"""The client: for programs that own their own main loop, without torch and without Ray.

    from marlserve.serving.client.agent import Agent            # and its manual
    from marlserve.serving.client.settings import ClientSettings

- `settings`: where the trainer is, and what happens when it is not
- `agent`: what a program holds; `episode`: of one agent, `team`: of several, `seeing`: what those
  are shown; `decision`: one of theirs; `books`: counts and times
- `playing`: the policy, `choosing`: what is drawn from its outputs
- `recording`: what is made of the steps, `track`: of one agent's; `outbox`, `spill`: what waits
- `link`: the threads that speak with the trainer, by `marlserve.serving.wire`
- `rl4sys`: the same by RL4Sys's names
- `lander`, `scheduler`: examples; `course`: how far they go
- `speed`: what a client costs the program; `bare`, `held`: programs that are measured, without
  clients and with
"""
