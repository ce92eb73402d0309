"""What to do with a request: from what is known of it to a decision that can be learned from.

- `question`: what a decision goes by
- `heuristics`: the rules that decide where no policy does
- `player`: a policy file, ready to be asked, and how it explores
- `modes`: which requests are the policy's
- `evidence`, `guard`: whether the policy's requests do worse, and what follows
- `decision`: what one is, and its settings
- `decider`: all of it together
"""
