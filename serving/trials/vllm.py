"""Real engines: vLLM on CPU, from a virtual environment of their own, with a small model.

    make vllm                                                  # installs it into build/vllm
    with VLLM(Path("build/vllm"), folder).engines(3) as engines:
        [engine.url for engine in engines]

The model is a Llama of 8 layers and 512 numbers per token, with weights at random: what it says
means nothing, and takes the time of any other of its size. Each engine computes on one thread, and
its cache has as many tokens as that of a mock engine.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.request import urlopen

from marlserve.envs.sims.replica import Engine
from marlserve.serving.service.load import process, threads
from marlserve.serving.trials.others import free_port, installed
from marlserve.serving.trials.tiny_model import NAME, written

ENGINE = Engine(32, 512 - 1, 32, 2_048)  # as the simulator has it: one block is nobody's
_SIZE, _MOST_TOKENS = (512, 8), 4_096
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


class VLLM:
    """See the module.

    Args:
        environment: where it is installed.
        folder: for its files and its words.

    Raises:
        ValueError: if there is no such environment.
    """

    def __init__(self, environment: Path, folder: Path):
        self._program, self._folder = installed(environment, "vllm", "vllm"), folder

    @contextmanager
    def engines(self, number: int) -> Iterator[list["Running"]]:
        """So many of them, started one after the other.

        Raises:
            ValueError: if one does not start.
        """
        with ExitStack() as stack:
            yield [stack.enter_context(self._engine(i)) for i in range(number)]

    @contextmanager
    def _engine(self, number: int) -> Iterator["Running"]:
        url = f"http://127.0.0.1:{free_port()}"
        command = [str(self._program), "serve", str(written(self._folder / NAME, *_SIZE))]
        command += ["--enforce-eager", "--enable-prompt-tokens-details"]
        flags = _FLAGS | {"host": "127.0.0.1", "port": url.rpartition(":")[2]}
        command += [word for name, value in flags.items() for word in (f"--{name}", str(value))]
        output = self._folder / f"vllm_{number}.log"
        with process(command, f"{url}/health", variables=_VARIABLES, output=output) as started:
            yield Running(url, started.pid)


class Running:
    """An engine.

    Attributes:
        url: where it is.
    """

    def __init__(self, url: str, process_id: int):
        self.url, self._process_id = url, process_id
        self._before = threads(process_id)

    def empty(self) -> None:
        """Its cache; `slowness` counts from here on."""
        urlopen(f"{self.url}/reset_prefix_cache", data=b"").close()
        self._before = threads(self._process_id)

    def slowness(self) -> float:
        """How many times as long as alone its passes took, as the thread that computes, which is
        the one that ran the most, waited for a core."""
        ran_s, waited_s = max(
            (ran_s - before[0], waited_s - before[1])
            for thread, (ran_s, waited_s) in threads(self._process_id).items()
            for before in [self._before.get(thread, (0.0, 0.0))]
        )
        return 1.0 + waited_s / ran_s
