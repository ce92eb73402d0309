"""Real load balancers on loopback, before servers that share their cores in virtual time.

- `backends`: the servers, a process; `replay`: the traffic, sent when it is due
- `haproxy`: a balancer, a process; `controllers`: what steers it, processes of `serving`
- `episode`: one episode of `envs.load_balance` with all of these
- `prediction`: what the simulator says of the same episode

`experiments/real_load_balancers.py` compares policies by it.
"""
