"""A network as ONNX, for runtimes that know nothing of policy files.

    file = export.read("served/policy")
    write(file.networks["shared"], "served/shared.onnx")

Inputs and outputs of the graph, for a batch of B:

    observation  [B, *O] float32
    mask         [B, H, A] bool, which actions are legal; not for `Box`
    <layer>      [B, *shape] float32, what a layer `gru` remembers, zeros first
    ->
    outputs      [B, H, A], or [B, D] for `Box`
    action       [B, *A], as the action space has it
    <layer>.next [B, *shape], what is remembered after it

The observation is followed by the agent's index where the network has `indexed_agents`.

It takes the package onnx, which `pip install marlserve[onnx]` brings.
"""

from pathlib import Path
from typing import Any

import numpy as np

from marlserve.policies.export.layers import LEAST_LENGTH, OBSERVATION, Layer, Shape
from marlserve.policies.export.network import Network
from marlserve.policies.export.spaces import Choices, Numbers

_OPSET, _IR_VERSION = 18, 10  # read by onnxruntime since 1.18


def write(network: Network, to: str | Path) -> Path:
    """Write one network.

    Raises:
        ValueError: if there is something already.
    """
    to = Path(to)
    if to.exists():
        raise ValueError(f"{to} exists; an ONNX file needs a new name")
    data = model(network).SerializeToString()
    to.parent.mkdir(parents=True, exist_ok=True)
    to.write_bytes(data)
    return to


def model(network: Network) -> Any:
    """The network as a checked `onnx.ModelProto`.

    Raises:
        ValueError: if the package onnx is not installed.
    """
    onnx = _onnx()
    graph = _Graph(network, onnx)
    for layer in network.layers:
        graph.layer(layer)
    actions = network.actions
    graph.reshape(graph.last, actions.heads, "outputs")
    inputs = [graph.value("observation", np.float32, network.seen_shape)]
    if isinstance(actions, Choices):
        graph.choice(actions)
        inputs.append(graph.value("mask", np.bool_, actions.heads))
    else:
        graph.numbers(actions, network.stretch, network.clip)
    outputs = [
        graph.value("outputs", np.float32, actions.heads),
        graph.value("action", network.action_space.dtype, actions.shape),
    ]
    for layer in network.layers:
        if layer.operation == "gru":
            inputs.append(graph.value(layer.name, np.float32, layer.shape))
            outputs.append(graph.value(f"{layer.name}.next", np.float32, layer.shape))
    made = onnx.helper.make_model(
        onnx.helper.make_graph(graph.nodes, "policy", inputs, outputs, graph.constants),
        opset_imports=[onnx.helper.make_opsetid("", _OPSET)],
        ir_version=_IR_VERSION,
        producer_name="marlserve",
    )
    onnx.checker.check_model(made, full_check=True)
    return made


def _onnx() -> Any:
    try:
        import onnx
    except ImportError as error:
        raise ValueError("ONNX takes a package more: pip install marlserve[onnx]") from error
    return onnx


class _Graph:
    """Nodes and constants as they are being made."""

    def __init__(self, network: Network, onnx: Any):
        self._onnx = onnx
        self.nodes: list[Any] = []
        self.constants: list[Any] = []
        self._weights = network.weights
        # What the value of a layer is called; that of `gru` bears the name of what it was before.
        self._names: dict[str, str] = {}
        self._last = network.layers[-1].name
        self._shapes: dict[str, Shape] = {OBSERVATION: network.seen_shape}

    @property
    def last(self) -> str:
        """What the value of the last layer is called."""
        return self._names.get(self._last, self._last)

    def layer(self, layer: Layer) -> None:
        """The nodes of one layer."""
        inputs = [self._names.get(name, name) for name in layer.inputs]
        shapes = [self._shapes[name] for name in layer.inputs]
        self._shapes[layer.name] = layer.shape
        weights = {
            part: self._weights[f"{layer.name}.{part}"]
            for part in ("weight", "bias", "mean", "deviation")
            if f"{layer.name}.{part}" in self._weights
        }
        x, out = inputs[0], layer.name
        if layer.operation == "flatten":
            self.reshape(x, layer.shape, out)
        elif layer.operation == "linear":
            self._linear(x, weights["weight"], weights["bias"], out)
        elif layer.operation == "relu":
            self._node("Relu", x, out=out)
        elif layer.operation == "tanh":
            self._node("Tanh", x, out=out)
        elif layer.operation == "normalize":
            axes = self._constant(np.array([-1]))
            length = self._node("ReduceL2", x, axes, keepdims=1)
            least = self._constant(np.float32(LEAST_LENGTH))
            self._node("Div", x, self._node("Max", length, least), out=out)
        elif layer.operation == "standardize":
            centred = self._node("Sub", x, self._constant(weights["mean"]))
            self._node("Div", centred, self._constant(weights["deviation"]), out=out)
        elif layer.operation == "embedding":
            self._node("Add", x, self._constant(weights["weight"]), out=out)
        elif layer.operation == "mean_max":
            axes = self._constant(np.array([-2]))
            pooled = [self._node(f"Reduce{how}", x, axes, keepdims=0) for how in ("Mean", "Max")]
            self._node("Concat", *pooled, out=out, axis=-1)
        elif layer.operation == "add":
            self._add(inputs, shapes, out)
        else:
            self._gru(x, layer)

    def choice(self, actions: Choices) -> None:
        """The action of a discrete space."""
        legal = self._node("And", "mask", self._constant(actions.legal))
        values = self._node("Where", legal, "outputs", self._constant(np.float32(-np.inf)))
        index = self._node("ArgMax", values, axis=-1, keepdims=0)  # [B, H]
        action = self._node("Add", index, self._constant(actions.start))
        self.reshape(action, actions.shape, "action")

    def numbers(self, actions: Numbers, stretch: bool, clip: bool) -> None:
        """The action of a `Box`."""
        low, high = self._constant(actions.low), self._constant(actions.high)
        dtype = actions.low.dtype
        x = self._node("Cast", "outputs", to=self._type(dtype))
        one, half = (self._constant(np.array(number, dtype)) for number in (1.0, 0.5))
        if stretch:
            wide = self._node("Mul", self._node("Sub", high, low), half)
            x = self._node("Add", low, self._node("Mul", self._node("Add", x, one), wide))
        if clip:
            x = self._node("Min", self._node("Max", x, low), high)
        self.reshape(x, actions.shape, "action")

    def value(self, name: str, dtype: Any, shape: Shape) -> Any:
        """An input or output of the graph, [B, *shape]."""
        return self._onnx.helper.make_tensor_value_info(name, self._type(dtype), ["B", *shape])

    def reshape(self, source: str, shape: Shape, out: str) -> str:
        """[B, *shape]."""
        return self._node("Reshape", source, self._constant(np.array([-1, *shape])), out=out)

    def _linear(self, x: str, weight: np.ndarray, bias: np.ndarray, out: str = "") -> str:
        product = self._node("MatMul", x, self._constant(np.ascontiguousarray(weight.T)))
        return self._node("Add", product, self._constant(bias), out=out)

    def _add(self, inputs: list[str], shapes: list[Shape], out: str) -> None:
        total = inputs[0]
        for name, shape in zip(inputs[1:], shapes[1:], strict=True):
            if shape != shapes[0]:  # it lacks the axis of components
                name = self._node("Unsqueeze", name, self._constant(np.array([1])))
            total = self._node("Add", total, name)
        self._node("Identity", total, out=out)

    def _gru(self, x: str, layer: Layer) -> None:
        w = {
            part: self._weights[f"{layer.name}.{part}"]
            for part in ("weight_ih", "bias_ih", "weight_hh", "bias_hh")
        }
        before, after = layer.name, f"{layer.name}.next"
        own = self._split(self._linear(x, w["weight_ih"], w["bias_ih"]))
        past = self._split(self._linear(before, w["weight_hh"], w["bias_hh"]))
        r, z = (self._node("Sigmoid", self._node("Add", own[gate], past[gate])) for gate in (0, 1))
        new = self._node("Tanh", self._node("Add", own[2], self._node("Mul", r, past[2])))
        one = self._constant(np.float32(1.0))
        fresh = self._node("Mul", self._node("Sub", one, z), new)
        self._node("Add", fresh, self._node("Mul", z, before), out=after)
        self._names[layer.name] = after

    def _split(self, source: str) -> list[str]:
        names = [f"{source}.{gate}" for gate in "rzn"]
        self.nodes.append(
            self._onnx.helper.make_node("Split", [source], names, axis=-1, num_outputs=3)
        )
        return names

    def _node(self, kind: str, *inputs: str, out: str = "", **attributes) -> str:
        """A node, and the name of what it puts out."""
        out = out or f"node_{len(self.nodes)}"
        self.nodes.append(self._onnx.helper.make_node(kind, list(inputs), [out], **attributes))
        return out

    def _constant(self, array: np.ndarray | np.float32) -> str:
        name = f"constant_{len(self.constants)}"
        self.constants.append(self._onnx.numpy_helper.from_array(np.asarray(array), name))
        return name

    def _type(self, dtype: Any) -> int:
        return self._onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
