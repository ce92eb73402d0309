"""The two files: `policy.safetensors` has the weights, `policy.json` says what they are.

    {
      "format": "marlserve policy", "version": 1,
      "weights_sha256": "...",                        of all of policy.safetensors
      "agents": {"balancer_0": "shared", "*": "shared"},    who is played by which network; "*" is
                                                            whoever is not named
      "networks": {"shared": {
        "observation_space": {...}, "action_space": {...},             see `spaces`
        "features": [{"name": "queue_depth", "unit": "jobs"}, ...],    of the last axis; may be []
        "indexed_agents": [],                                          see `network`; mostly []
        "layers": [{"name": "encoder", "operation": "linear", "inputs": ["observation"],
                    "shape": [64]}, ...],                              see `layers`
        "action": {"outputs": "action values", "stretch": false, "clip": false}
      }},
      "training": {"algorithm": "qmix", "env_steps": 300000, ...}
    }

The weights of a network are named "<network>/<layer>.<weight>". How an action follows from the
outputs of the last layer:

- `Discrete`, `MultiDiscrete`: they are [H, A] numbers in C order, A for each of H components; each
  component takes the index of the largest one that is legal, the first of equal ones, and 0 if
  none is; then the space's start is added. Legal are the values that the component has, less those
  that a mask forbids.
- `Box`: they are the D numbers of the action. If "stretch", -1 and 1 stand for its bounds, low +
  (x + 1) (high - low) / 2; if "clip", what lies outside of the bounds is moved to them.

Reading takes JSON and arrays of float32, and runs no code that the files bring.
"""

import hashlib
import json
import os
import re
import shutil
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
from gymnasium.spaces import Box
from safetensors import SafetensorError
from safetensors.numpy import load as load_arrays
from safetensors.numpy import save as save_arrays

from marlserve.policies.export import spaces
from marlserve.policies.export.layers import Layer
from marlserve.policies.export.network import Network, PolicyFile

FORMAT, VERSION = "marlserve policy", 1
MANIFEST, WEIGHTS = "policy.json", "policy.safetensors"
_INNERMOST = re.compile(r"[\[{][^\[\]{}]*[\]}]")


def encoded(policy: PolicyFile) -> tuple[bytes, bytes]:
    """The contents of both files, `policy.json` and `policy.safetensors`."""
    arrays = {
        f"{name}/{key}": np.ascontiguousarray(array)
        for name, network in policy.networks.items()
        for key, array in network.weights.items()
    }
    weights = save_arrays(arrays)
    manifest = {
        "format": FORMAT,
        "version": VERSION,
        "weights_sha256": hashlib.sha256(weights).hexdigest(),
        "agents": policy.agents,
        "networks": {name: _to_json(network) for name, network in policy.networks.items()},
        "training": policy.training,
    }
    text = json.dumps(manifest, indent=1, allow_nan=False) + "\n"
    # What holds nothing but values is one line: no string of JSON has a line's end in it.
    text = _INNERMOST.sub(lambda part: re.sub(r"\n\s*", " ", part.group()), text)
    return text.encode(), weights


def decoded(manifest: bytes, weights: bytes) -> PolicyFile:
    """What `encoded` wrote.

    Raises:
        ValueError: if it is broken, of an unknown version, changed, or does not fit together.
    """
    try:
        return _from_manifest(json.loads(manifest, parse_constant=_refused), weights)
    # Also of JSON, which may be nested too deeply, and of Unicode.
    except (ValueError, RecursionError, SafetensorError) as error:
        raise ValueError(str(error)) from error


def save(policy: PolicyFile, to: str | Path) -> Path:
    """Write a folder with both files; it appears at once, or not at all.

    Raises:
        ValueError: if there is something already.
    """
    to = Path(to)
    if to.exists() and not (to.is_dir() and not any(to.iterdir())):
        raise ValueError(f"{to} exists; a policy file needs a new folder")
    manifest, weights = encoded(policy)
    unfinished = to.absolute().parent / f".{to.name}.{uuid4().hex}"
    unfinished.mkdir(parents=True)
    try:
        (unfinished / WEIGHTS).write_bytes(weights)
        (unfinished / MANIFEST).write_bytes(manifest)
        os.rename(unfinished, to)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return to


def read(path: str | Path) -> PolicyFile:
    """Read a policy file: its folder, or one of its two files.

    Raises:
        ValueError: if a file is missing or broken, the version is unknown, the checksum is wrong,
            or what is there does not fit together.
    """
    folder = Path(path)
    folder = folder.parent if folder.name in (MANIFEST, WEIGHTS) else folder
    try:
        text, data = (folder / MANIFEST).read_bytes(), (folder / WEIGHTS).read_bytes()
    except OSError as error:
        raise ValueError(f"{folder} is no policy file: {error}") from error
    try:
        return decoded(text, data)
    except ValueError as error:
        raise ValueError(f"{folder} is no policy file that can be read: {error}") from error


def _from_manifest(manifest: Any, data: bytes) -> PolicyFile:
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise ValueError(f"{MANIFEST} does not say that its format is {FORMAT!r}")
    version = manifest.get("version")
    if version != VERSION:
        raise ValueError(f"its version is {version!r}; this marlserve reads version {VERSION}")
    if _taken(manifest, "weights_sha256", str) != hashlib.sha256(data).hexdigest():
        raise ValueError(f"the checksum of {WEIGHTS} is not that of {MANIFEST}")
    parts: dict[str, dict[str, np.ndarray]] = {
        name: {} for name in _taken(manifest, "networks", dict)
    }
    for key, array in load_arrays(data).items():
        name, _, weight = key.rpartition("/")
        if name not in parts:
            raise ValueError(f"weights {key!r} belong to no network; there are {sorted(parts)}")
        parts[name][weight] = array
    networks = {}
    for name, weights in parts.items():
        try:
            networks[name] = _from_json(_taken(manifest["networks"], name, dict), weights)
        except ValueError as error:
            raise ValueError(f"network {name!r}: {error}") from error
    agents = _taken(manifest, "agents", dict)
    return PolicyFile(
        networks,
        {agent: _taken(agents, agent, str) for agent in agents},
        _taken(manifest, "training", dict),
    )


def _to_json(network: Network) -> dict[str, Any]:
    return {
        "observation_space": spaces.to_json(network.observation_space),
        "action_space": spaces.to_json(network.action_space),
        "features": [{"name": name, "unit": unit} for name, unit in network.features],
        "indexed_agents": list(network.indexed_agents),
        "layers": [
            {
                "name": layer.name,
                "operation": layer.operation,
                "inputs": list(layer.inputs),
                "shape": list(layer.shape),
            }
            for layer in network.layers
        ],
        "action": {
            "outputs": network.outputs,
            "stretch": network.stretch,
            "clip": network.clip,
        },
    }


def _from_json(value: dict[str, Any], weights: dict[str, np.ndarray]) -> Network:
    observation_space = spaces.from_json(_taken(value, "observation_space", dict))
    if not isinstance(observation_space, Box):
        raise ValueError(f"the observation space is {observation_space}; it must be a Box")
    action = _taken(value, "action", dict)
    return Network(
        observation_space,
        spaces.from_json(_taken(value, "action_space", dict)),
        tuple(_layer(layer) for layer in _taken(value, "layers", list)),
        weights,
        _taken(action, "outputs", str),
        _taken(action, "stretch", bool),
        _taken(action, "clip", bool),
        tuple(
            (_taken(feature, "name", str), _taken(feature, "unit", str))
            for feature in _taken(value, "features", list)
        ),
        _names(value, "indexed_agents"),
    )


def _layer(value: Any) -> Layer:
    shape = _taken(value, "shape", list)
    if not all(isinstance(size, int) and size > 0 for size in shape):
        raise ValueError(f"the shape of a layer is {shape}; it must be positive integers")
    name, operation = _taken(value, "name", str), _taken(value, "operation", str)
    return Layer(name, operation, _names(value, "inputs"), tuple(shape))


def _names(value: Any, key: str) -> tuple[str, ...]:
    names = _taken(value, key, list)
    if not all(isinstance(name, str) for name in names):
        raise ValueError(f"{key} are {names}; they must be names")
    return tuple(names)


def _taken(value: Any, key: str, kind: type) -> Any:
    """`value[key]`, if it is of this kind."""
    if not isinstance(value, dict) or not isinstance(value.get(key), kind):
        raise ValueError(f"{MANIFEST} lacks {key!r}, or it is no {kind.__name__}")
    return value[key]


def _refused(constant: str) -> None:
    raise ValueError(f"{MANIFEST} has the number {constant}, which JSON has not")
