"""What a decision goes by: the plain numbers of a routing problem, and what a policy sees of them.

    Question(measured(requests=[5, 3, 7]), observation, allowed)
    routed(measured(requests=[5, 3, 7], waiting=[0, 0, 2], ...), config)    # for a routing policy

Numbers that nobody measured are 0, as in a system at rest.
"""

from functools import lru_cache
from math import inf
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from marlserve.envs.replica_routing.config import Config
from marlserve.envs.replica_routing.observation import Measured, observe

# Of the request or of the gateway; all others are of every replica.
_SINGLE = {
    "scrape_age_s",
    "home",
    "request_prompt_tokens",
    "request_output_tokens",
    "gateway",
}


class Question(NamedTuple):
    """One request that is to be sent to one of R replicas.

    Attributes:
        seen: what heuristics read, [R].
        observation: what the policy reads; None if too little is known to make one.
        allowed: [R] bool, replicas that may get it: not those that are unhealthy or drain. With
            none of them, all are.
        session: requests of one session are the policy's or are not; "": the request is its own.
        deadline_s: on the clock of `time.perf_counter`, until when there must be an answer.
    """

    seen: Measured
    observation: np.ndarray | None
    allowed: np.ndarray
    session: str = ""
    deadline_s: float = inf


def measured(requests: ArrayLike, **known: ArrayLike) -> Measured:
    """What is known of R replicas: their requests, and other fields of `Measured`.

    Raises:
        ValueError: for no replica, and for a field of another length.
        TypeError: for a field that `Measured` does not have.
    """
    array = np.asarray(requests, float)
    if array.ndim != 1 or not array.size:
        raise ValueError(f"requests are {requests!r}; allowed is one number for each replica")
    given = {name: np.asarray(values, float) for name, values in known.items()}
    for name, values in given.items():
        expected = () if name in _SINGLE else array.shape
        if values.shape != expected:
            raise ValueError(f"{name} has shape {values.shape}; expected is {expected}")
    rest = _at_rest(array.size)
    return rest._replace(requests=array, **given) if given else Measured(array, *rest[1:])


def routed(seen: Measured, config: Config, session: str = "", deadline_s: float = inf) -> Question:
    """For a policy that was trained on `envs.replica_routing`: it reads what it read there, and
    replicas that are down get nothing.

    Args:
        seen: of one gateway, [R].
        config: what the policy was trained with.

    Raises:
        ValueError: for another number of replicas than the Config has.
    """
    if seen.requests.shape != (config.num_replicas,):
        raise ValueError(
            f"requests have shape {seen.requests.shape}; the Config has {config.num_replicas} "
            "replicas"
        )
    return Question(seen, observe(seen, config), seen.up > 0, session, deadline_s)


@lru_cache
def _at_rest(num_replicas: int) -> Measured:
    """Nothing is under way, nothing was scraped, all replicas are up."""
    zeros, none = np.zeros(num_replicas), np.zeros(())
    fields = {name: none if name in _SINGLE else zeros for name in Measured._fields}
    return Measured(**fields)._replace(up=np.ones(num_replicas), home=np.array(-1.0))
