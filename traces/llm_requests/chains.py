"""Chains of blocks as numbers: what an id says only with all ids before it, a node says alone.

All prompts' blocks lie one after the other; row i has those from block_starts[i] up to
block_starts[i + 1]. Nodes count from 0, those of first blocks before those of second ones, ...
"""

import numpy as np


def nodes(block_ids: np.ndarray, block_starts: np.ndarray) -> np.ndarray:
    """For each block the number of its chain, [blocks] int64: all ids of its row up to it.

    Depth by depth, a chain is its parent's and one more id; a pair of two numbers is made one.
    """
    found = np.empty(len(block_ids), np.int64)
    if not len(block_ids):
        return found
    depths = np.diff(block_starts)
    ids, num_ids = _from_zero(block_ids, len(depths))
    order = np.argsort(-depths, kind="stable")  # rows that are deep enough come first
    starts, alive = (
        block_starts[:-1][order],
        np.searchsorted(-depths[order], -np.arange(depths.max())),
    )
    parents, count = np.zeros(len(depths), np.int64), 0
    for depth, rows in enumerate(alive):
        at = starts[:rows] + depth
        pairs = parents[:rows] * num_ids + ids[at]
        distinct, parents = np.unique(pairs, return_inverse=True)
        found[at] = count + parents
        count += len(distinct)
    return found


def seen_tokens(
    chain_nodes: np.ndarray,
    block_starts: np.ndarray,
    prompt_tokens: np.ndarray,
    block_tokens: int,
) -> np.ndarray:
    """Tokens from the start on that some earlier row has too, [n] int64.

    If a node was there before, all nodes above it were, with all of their tokens; so it is enough
    to add up, over the blocks of a row, the most tokens that earlier rows had of each.
    """
    depths = np.diff(block_starts)
    row = np.repeat(np.arange(len(depths)), depths)
    block = np.arange(len(chain_nodes)) - np.repeat(block_starts[:-1], depths)
    tokens = np.minimum(prompt_tokens[row] - block * block_tokens, block_tokens)
    # By node, then by row: a running maximum that starts anew with each node, whose values lie
    # above all of the node before it.
    order = np.argsort(chain_nodes, kind="stable")
    floor = chain_nodes[order] * (block_tokens + 1)
    most = np.maximum.accumulate(floor + tokens[order])
    before = np.zeros(len(order), np.int64)
    before[1:] = np.maximum(most[:-1] - floor[1:], 0)
    seen = np.zeros(len(order), np.int64)
    seen[order] = before
    return np.bincount(row, np.minimum(seen, tokens), minlength=len(depths)).astype(np.int64)


def _from_zero(block_ids: np.ndarray, num_rows: int) -> tuple[np.ndarray, int]:
    """Ids that stand for the same, and a number above all; pairs of row and id fit in an int64."""
    least, num_ids = int(block_ids.min()), int(block_ids.max()) - int(block_ids.min()) + 1
    if num_ids * num_rows < 2**63:
        return block_ids - least, num_ids
    distinct, ids = np.unique(block_ids, return_inverse=True)
    return ids, len(distinct)
