"""Traces of requests that follow each other."""

from collections.abc import Sequence

import numpy as np

from marlserve.traces.llm_requests.requests import COLUMNS, LLMRequests


def joined(parts: Sequence[LLMRequests], families: Sequence[int]) -> LLMRequests:
    """One trace of several: each begins where the one before it ends.

    Args:
        parts: at least one; their `block_tokens` are the same.
        families: of each part, from 0 on. Equal block ids and sessions of one family mean the same
            prompts and conversations; families have none in common.

    Raises:
        ValueError: if blocks differ in size.
    """
    first = parts[0]
    for part in parts:
        if part.block_tokens != first.block_tokens:
            raise ValueError(
                f"block_tokens are {first.block_tokens} and {part.block_tokens}; expected the same"
            )
    columns: dict[str, list[np.ndarray]] = {name: [] for name in COLUMNS}
    ids, lengths, now_s = [], [], first.start_s
    for part, family in zip(parts, families, strict=True):
        own = family << 40  # more than any session or id that files have
        columns["time_s"].append(part.time_s - part.start_s + now_s)
        columns["session"].append(np.where(part["session"] < 0, -1, part["session"] + own))
        for name in ("prompt_tokens", "output_tokens"):
            columns[name].append(part[name])
        ids.append(part.block_ids + own)
        lengths.append(np.diff(part.block_starts))
        now_s += part.duration_s
    starts = np.append(0, np.cumsum(np.concatenate(lengths)))
    joint = {name: np.concatenate(values) for name, values in columns.items()}
    end_s = max(now_s, float(np.nextafter(joint["time_s"].max(initial=0.0), np.inf)))
    return LLMRequests(joint, end_s, first.start_s, np.concatenate(ids), starts, first.block_tokens)
