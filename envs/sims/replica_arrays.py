"""What the arrays of `marlserve.envs.sims.replica` hold, for it and for its compiled kernel."""

import numpy as np

# Of a request's tokens, `computed` have their keys and values in the cache, and passes were charged
# for the first `charged` of its prompt.
REQUEST = np.dtype(
    # -1: not yet. The second is when a pass took it up last, as it came for the first time.
    [(name, "i8") for name in ("arrival_ns", "admitted_ns", "first_token_ns", "last_token_ns")]
    + [(name, "i8") for name in ("prompt_tokens", "output_tokens", "chain_start", "chain_length")]
    + [(name, "i8") for name in ("generated", "computed", "charged")]
    + [(name, "i8") for name in ("reused_tokens", "admissions")]  # the former: the most at one
    + [("hit_tokens", "i8")]  # in the cache as it was admitted first
    + [("expected_hits", "i8")]  # tokens in the cache as it was submitted
    + [(name, "i4") for name in ("replica", "status", "row", "blocks", "next")]
)
REPLICA = np.dtype(
    [("slowness", "f8")]  # of its passes against what the timing says
    + [(name, "i8") for name in ("clock_ns", "pass_end_ns", "phase", "down", "draining")]
    + [(name, "i8") for name in ("running", "waiting", "first", "last")]  # of those in line
    + [(name, "i8") for name in ("fresh", "free", "num_free")]  # never used; chain of freed ones
    + [(name, "i8") for name in ("oldest", "newest", "num_idle")]  # cached, in use by nobody
    + [(name, "i8") for name in ("stuck", "run_left", "run_done", "run_tokens")]
    # Since the start: of prompts that were admitted, the part of them that was in the cache, ...
    + [(name, "i8") for name in ("prompt_tokens", "hit_tokens", "output_tokens")]
    + [(name, "i8") for name in ("completed", "rejected", "preemptions", "passes")]
)
BLOCK = np.dtype(
    [("key", "i8")]  # what it holds; NONE: nothing that could be found
    + [(name, "i4") for name in ("references", "before", "after", "twin")]
)

WAITING, RUNNING, COMPLETED, REJECTED, FAILED = range(1, 6)  # status; 0: not yet submitted
IDLE, PASS, DECODE_RUN = range(3)  # phase of a replica: what it is computing
FIRST_TOKEN, END = range(2)  # what is told of a request: 2 * its number + event
NONE = -1  # no request, no block


RULES = np.dtype(  # of an engine; `replica.Engine` explains them
    [(name, "i8") for name in ("block_tokens", "num_blocks", "max_num_seqs")]
    + [(name, "i8") for name in ("max_num_batched_tokens", "prefix_caching", "chain_tokens")]
)
