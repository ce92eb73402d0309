"""What the arrays of `marlserve.envs.sims.gateways` hold, for it and for its compiled kernel."""

import numpy as np

COPY = np.dtype(
    [(name, "i8") for name in ("first", "count", "last", "clock_ns", "warm_ns", "end_ns")]
    + [(name, "i8") for name in ("scraped_ns", "next_change", "over")]
)
REQUEST = np.dtype(  # what gateways know of one that came
    [(name, "i8") for name in ("arrival_ns", "gateway", "session", "new_tokens")]
    + [("expected_output", "f8")]
)
PAIR = np.dtype(  # of a gateway and a replica
    [(name, "i8") for name in ("requests", "unanswered", "prompt_tokens", "new_tokens")]
    + [(name, "i8") for name in ("generated_tokens", "sent_tokens", "answers", "completed")]
    + [(name, "f8") for name in ("ttft_s", "tpot_s")]
)
SCRAPED = np.dtype([(name, "f8") for name in ("running", "waiting", "kv_usage", "up")])
DECISION = np.dtype(  # what the last round's request of a gateway costs all, as foreseen
    [(name, "f8") for name in ("ttft_s", "e2e_s", "failures", "within_slo")]
)
DRAIN = -1.0  # a slowness: the replica ends what it has, and takes no more
CHANGE = np.dtype([("time_ns", "i8"), ("replica", "i8"), ("slowness", "f8")])
