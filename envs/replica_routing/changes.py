"""When which replica changes in an episode: at random, or as the Config plans it."""

from itertools import pairwise

import numpy as np

from marlserve.envs.sims.gateways import CHANGE, DRAIN

_DOWN = 0.0


def changes(config, speeds: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Of replicas of these speeds, `CHANGE`, by time."""
    normal = 1.0 / speeds
    found = [
        (config.warm_up_s + at_s, replica, normal[replica] if joins else DRAIN)
        for at_s, replica, joins in planned(config)
    ]
    found += [(0.0, replica, _DOWN) for replica in absent_at_first(config)]
    now_s = 0.0
    while config.change_every_s > 0:
        now_s += rng.exponential(config.change_every_s)
        if now_s >= config.warm_up_s + config.episode_s:
            break
        replica = int(rng.integers(config.num_replicas))
        speed = rng.choice(config.change_speeds)
        found.append((now_s, replica, normal[replica] / speed if speed > 0 else _DOWN))
        now_s += rng.uniform(*config.change_s)
        found.append((now_s, replica, normal[replica]))
    in_ns = [(round(at_s * 1e9), *rest) for at_s, *rest in sorted(found, key=lambda x: x[0])]
    return np.array(in_ns, CHANGE)


def planned(config) -> list[tuple[float, int, bool]]:
    """(seconds of the episode, replica, whether it joins rather than drains), by time."""
    drains = [(at_s, r, False) for at_s, r in zip(config.drain_s, config.drain, strict=True)]
    joins = [(at_s, r, True) for at_s, r in zip(config.join_s, config.join, strict=True)]
    return sorted(drains + joins)


def absent_at_first(config) -> set[int]:
    """Replicas that join before they drain, if they do."""
    first: dict[int, bool] = {}
    for _, replica, joins in planned(config):
        first.setdefault(replica, joins)
    return {replica for replica, joins in first.items() if joins}


def alternate(config) -> bool:
    """Whether each replica joins and drains by turns."""
    turns: dict[int, list[bool]] = {}
    for _, replica, joins in planned(config):
        turns.setdefault(replica, []).append(joins)
    return all(a != b for one in turns.values() for a, b in pairwise(one))
