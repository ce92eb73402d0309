"""How the outside world talks to a policy: decisions for real traffic, and learning from it.

    python -m marlserve.serving.agent --port 5000                  # a service: docs/serving.md
    python -m marlserve.serving.gateway --replicas URL URL         # a gateway: docs/gateway.md

A request is decided on by a policy file, without torch and without Ray, or by a heuristic, which is
there whenever a policy is not: see `decisions`. What was decided and what came of it go to a log,
`experience`; `training` learns from that in a process of its own and publishes policy files, which
`policy_store` keeps and the service plays from its next decision on.

- `decisions`: what to do with a request, who decides it, and the guard that compares the two
- `experience`: the log, and its delivery to Redis
- `policy_store`: versions of policy files on disk
- `training`: from the log to a new version
- `off_policy`: what versions would have got, estimated from the log
- `service`: what services share
- `agent`: the service over HTTP
- `gateway`: all requests pass through it, and it decides on each
- `ray_router`: the same decisions in Ray Serve
- `trials`: the gateway beside routers of others
- `controller`: weights for a load balancer, docs/data_plane.md; `shared_memory`: for one in C, such
  as that of `native`
"""

if __name__ != "marlserve.serving":
    raise ImportError(
        f"serving/ is the source folder of marlserve.serving; import that, not {__name__}"
    )
