"""The blocks of prompts that begin with a system prompt and go on in a stream of text."""

import numpy as np

from marlserve.traces.conversations.sessions import Turns


def ids(
    turns: Turns, system_tokens: np.ndarray, block_tokens: int
) -> tuple[np.ndarray, np.ndarray]:
    """block_ids [blocks] and block_starts [n + 1], as of "llm_requests".

    A number of its own for each block of each system prompt, then for each of each stream.

    Args:
        system_tokens: of each application, in whole blocks, [applications].
    """
    depth = -(-turns.prompt_tokens // block_tokens)
    starts = np.append(0, depth.cumsum())
    row = np.repeat(np.arange(len(depth)), depth)
    block = np.arange(starts[-1]) - starts[row]
    system_depth = system_tokens // block_tokens
    system_first = system_depth.cumsum() - system_depth
    names, stream = np.unique(turns.stream, return_inverse=True)
    stream_depth = np.zeros(len(names), np.int64)
    np.maximum.at(stream_depth, stream, depth)
    stream_first = system_depth.sum() + stream_depth.cumsum() - stream_depth
    application = turns.application[row]
    of_system = block < system_depth[application]
    first = np.where(of_system, system_first[application], stream_first[stream[row]])
    return first + block, starts
