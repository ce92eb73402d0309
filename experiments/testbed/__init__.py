"""Real load balancers on loopback, before servers that share their cores in virtual time.

- `backends`: the servers, a process; `replay`: the traffic; `event_loop`: theirs
- `balancer`: one as a process: `haproxy`, `envoy`; `controllers`: what steers them
- `episode`: one episode of `envs.load_balance` with all of these
- `contenders`: who balances, and what the simulator says of it; `comparison`: the table

`experiments/real_load_balancers.py` is what one runs.
"""
