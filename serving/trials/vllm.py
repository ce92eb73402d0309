"""Real engines: vLLM on CPU, from a virtual environment of their own, with a small model.

    make vllm                                                  # installs it into build/vllm
    python -m marlserve.serving.trials.vllm --number 3         # prints URLs, serves until Ctrl-C

The model is a Llama of 8 layers and 512 numbers per token, with weights at random: what it says
means nothing, and takes the time of any other of its size. Each engine computes on one thread, and
its cache has as many tokens as that of a mock engine.
"""

import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import tyro

from marlserve.envs.sims.replica import Engine
from marlserve.serving.service.load import process
from marlserve.serving.trials.others import free_port
from marlserve.serving.trials.tiny_model import NAME, written

ENGINE = Engine(32, 512 - 1, 32, 2_048)  # as the simulator has it: one block is nobody's
_HIDDEN_SIZE, _LAYERS, _MOST_TOKENS = 512, 8, 4_096
_VARIABLES = {
    "VLLM_TARGET_DEVICE": "cpu",
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "VLLM_CPU_NUM_OF_RESERVED_CPU": "0",
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_SERVER_DEV_MODE": "1",  # so that caches can be emptied
    "HF_HUB_OFFLINE": "1",
    "OMP_NUM_THREADS": "1",
}
_FLAGS = {
    "served-model-name": NAME,
    "load-format": "dummy",
    "dtype": "bfloat16",
    "max-model-len": _MOST_TOKENS,
    "block-size": ENGINE.block_tokens,
    "num-gpu-blocks-override": ENGINE.num_blocks + 1,
    "max-num-seqs": ENGINE.max_num_seqs,
    "max-num-batched-tokens": ENGINE.max_num_batched_tokens,
}


@contextmanager
def engine(environment: Path, folder: Path, number: int) -> Iterator[str]:
    """The engine of that number; its URL.

    Args:
        environment: where vLLM is installed.
        folder: for its files and its words.

    Raises:
        ValueError: if it does not start.
    """
    program = environment.absolute() / "bin" / "vllm"
    if not program.exists():
        raise ValueError(f"{program} is not there; `make vllm` installs it")
    port, model = free_port(), written(folder / NAME, _HIDDEN_SIZE, _LAYERS)
    command = [str(program), "serve", str(model), "--host", "127.0.0.1", "--port", str(port)]
    command += ["--enforce-eager", "--enable-prompt-tokens-details"]
    command += [word for name, value in _FLAGS.items() for word in (f"--{name}", str(value))]
    url, output = f"http://127.0.0.1:{port}", folder / f"vllm_{number}.log"
    with process(command, f"{url}/health", variables=_VARIABLES, output=output):
        yield url


def main(number: int = 3, environment: Path = Path("build/vllm")) -> None:
    """Serve until a signal comes.

    Args:
        number: of engines.
        environment: where vLLM is installed.
    """
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        for i in range(number):
            print(stack.enter_context(engine(environment, Path(folder), i)), flush=True)
        signal.pause()


if __name__ == "__main__":
    try:
        tyro.cli(main, description=__doc__)
    except KeyboardInterrupt:
        pass
    except (OSError, ValueError) as error:
        sys.exit(f"error: {error}")
