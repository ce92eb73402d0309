"""From fragments to what algorithms sample: RLlib's env runners, without an environment.

- `env_runner`: what all of them share, to wait for fragments and to hand out policies
- `episode_runner`, `episodes`: RLlib's episodes of one agent; `team_runner`, `team_episodes`: of
  several; both by `chunks`, which puts together what is of one episode
- `sequence_runner`, `rows`: the sequences that our algorithms learn from
- `joint`, `joint_runner`: several agents and their policies; `team_counts`: what is counted of them
"""
