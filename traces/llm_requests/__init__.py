"""Requests to language models, one row each, with what their prompts have in common.

    trace = llm_requests.load(path="conversation_trace.jsonl")    # an `LLMRequests`
    busy = trace.window(600.0, 60.0).sped_up(2.0)                 # a minute of it, twice as fast
    train, test = trace.split(0.5)                                # by time
    trace.prefix_hit_share()                                      # of a cache without bounds
    llm_requests.save(busy, "busy.jsonl")                         # for an engine that replays it

Columns: time_s (arrival), prompt_tokens, output_tokens, session (of the same conversation; -1 where
that is not known), int64. Beside them, the blocks of the prompts:

    block_tokens    of a block; the last block of a prompt may hold fewer
    block_ids       [blocks] of all prompts, one after the other; equal ids are equal tokens
    block_starts    [n + 1] where a prompt's blocks begin: row i has block_ids[block_starts[i] :
                    block_starts[i + 1]], ceil(prompt_tokens / block_tokens) of them, or none where
                    nothing is known of the prompts
    chain_nodes     [blocks] a number for each block and all before it, for those who simulate a
                    cache: two requests have the same node k if their first k + 1 blocks are the
                    same, and only then

Two prompts share their tokens as far as their ids agree from the start on; one of them may end
within the last block that they share.

A file may be in one of these forms, and says so itself:

    Mooncake    JSON lines with timestamp (or timestamp_ms; milliseconds), input_length,
                output_length and hash_ids, which stand for 512 tokens each; ids beyond the prompt's
                end and other fields are ignored
    Azure       CSV: TIMESTAMP,ContextTokens,GeneratedTokens, as trace "invocations" reads it, on
                the clock of Unix; no prefixes, no sessions
    BurstGPT    CSV: Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type, and in
                newer files Session ID and Elapsed time. Timestamp is in seconds since midnight
                of the first day. Model, Total tokens, Log Type and Elapsed time are not read, so
                models and ways of access come mixed; no prefixes. A request that failed has no
                response tokens: it is left out, unless `keep_failures`

Times keep the file's clock. A trace covers the time from the first request to an instant after the
last; two may come at the same time.

References: Qin et al.: Mooncake: trading more storage for less computation, FAST 2025, files in
kvcache-ai/Mooncake; Patel et al.: Splitwise, ISCA 2024, files in Azure/AzurePublicDataset; Wang et
al.: BurstGPT: a real-world workload dataset to optimize LLM serving systems, KDD 2025, files in
HPMLL/BurstGPT. The repositories are on GitHub.
"""

from pathlib import Path

import numpy as np

from marlserve.traces import invocations, recording
from marlserve.traces.llm_requests import burstgpt, mooncake
from marlserve.traces.llm_requests.joining import joined
from marlserve.traces.llm_requests.mooncake import save
from marlserve.traces.llm_requests.requests import COLUMNS, LLMRequests

__all__ = ["COLUMNS", "LLMRequests", "joined", "load", "save"]

_AZURE = {"TIMESTAMP", "ContextTokens", "GeneratedTokens"}
_BLANKS = b"\xef\xbb\xbf \t\r\n"  # the first three are a mark that some editors write


def load(
    rng: np.random.Generator | None = None,
    *,
    path: str | Path,
    block_tokens: int = 512,
    keep_failures: bool = False,
) -> LLMRequests:
    """Read the file at `path`.

    Args:
        rng: not used, as a recording is what it is; here for the sake of `traces.load`.
        block_tokens: that an id stands for, of the form of Mooncake.
        keep_failures: requests without response tokens too, of the form of BurstGPT.

    Raises:
        ValueError: for a file of another form, and for a row that is not of the file's form, such
            as a time before that of the row above, a missing field, a number that is not whole,
            and a prompt of more tokens than its ids stand for; it names file, line, column or
            field, value and what is expected.
        OSError: if the file cannot be read.
    """
    text = recording.read(path)
    if text.lstrip(_BLANKS).startswith(b"{"):
        return mooncake.parse(path, text, block_tokens)
    line = text.partition(b"\n")[0].decode("utf-8-sig", "replace").strip()
    header = set(line.split(","))
    if header == _AZURE:
        azure = invocations.load(path=path)
        session = np.full(len(azure), -1)
        return LLMRequests({**azure.columns, "session": session}, azure.end_s, azure.start_s)
    if header >= set(burstgpt.HEADER):
        return burstgpt.parse(path, keep_failures)
    raise ValueError(
        f"{path}, line 1: {line[:200]!r}; expected a JSON object with "
        f"{', '.join(mooncake.FIELDS)} (Mooncake), or the header "
        f"TIMESTAMP,ContextTokens,GeneratedTokens (Azure) or one with {','.join(burstgpt.HEADER)} "
        "(BurstGPT)"
    )
