"""One greedy decision of a trained policy, asked one at a time: sides of `benchmark.py`.

The network is 10-128-128-128-3 with ReLU, as DQN has it, without a mask. Every side is given an
observation as an array of numpy, a new one each time, and gives the index of the best action:
torch runs the module, onnxruntime the ONNX file that is made of its policy file, with one thread.
"""

import time
from collections.abc import Callable

import numpy as np
import torch
from gymnasium.spaces import Box, Discrete

from marlserve.experiments.benchmarks.work import Side, Work
from marlserve.policies.export.modules import exported
from marlserve.policies.export.network import Network, PolicyFile
from marlserve.policies.export.numba_policy import NumbaPolicy
from marlserve.policies.export.numpy_policy import NumpyPolicy
from marlserve.policies.export.onnx_file import model
from marlserve.policies.models.dqn import DQNModule

TORCH, AGENT = "torch", "agent"
_INPUTS, _HIDDEN, _ACTIONS, _AT_ONCE = 10, [128, 128, 128], 3, 2_000

Decide = Callable[[np.ndarray], int]


def module() -> DQNModule:
    """The module, with weights as they begin."""
    torch.manual_seed(0)
    return DQNModule(
        observation_space=Box(-np.inf, np.inf, (_INPUTS,)),
        action_space=Discrete(_ACTIONS),
        inference_only=True,
        model_config={
            "network": "flat",
            "hidden_sizes": _HIDDEN,
            "epsilon": 0.0,
            "double_q": True,
        },
    ).eval()


def network() -> Network:
    return exported(module(), normalize=True, clip=False)


def by_torch() -> Decide:
    made = module()

    def decide(observation: np.ndarray) -> int:
        outputs = made._forward_inference({"obs": torch.from_numpy(observation)[None]})
        return int(outputs["actions"][0])

    return decide


def by_onnxruntime() -> Decide:
    try:
        import onnxruntime
    except ImportError as error:
        raise ValueError("this needs onnx and onnxruntime: pip install marlserve[onnx]") from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        model(network()).SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    mask = np.ones((1, 1, _ACTIONS), bool)

    def decide(observation: np.ndarray) -> int:
        feeds = {"observation": observation[None], "mask": mask}
        return int(session.run(["action"], feeds)[0][0])

    return decide


def by_numpy() -> Decide:
    policy = NumpyPolicy(PolicyFile({"p": network()}, {AGENT: "p"}))
    return lambda observation: int(policy({AGENT: observation[None]})[AGENT][0])


def by_numba() -> Decide:
    policy = NumbaPolicy(PolicyFile({"p": network()}, {AGENT: "p"}))
    return lambda observation: int(policy.decide(AGENT, observation))


def side(make: Callable[[], Decide]) -> Callable[[], Side]:
    """Decisions by this way."""

    def start() -> Side:
        decide = make()
        random = np.random.default_rng(0).normal(size=(_AT_ONCE, _INPUTS))
        observations = list(random.astype(np.float32))

        def play() -> Work:
            start_s = time.process_time()
            for observation in observations:
                decide(observation)
            return Work(len(observations), time.process_time() - start_s)

        return play

    return start


DECISION = {
    "policy file, numba": side(by_numba),
    "policy file, numpy": side(by_numpy),
    "policy file as ONNX, onnxruntime": side(by_onnxruntime),
    TORCH: side(by_torch),
}
