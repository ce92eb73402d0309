"""Synthetic sessions of chat, code and agents, whose prompts grow turn by turn.

    traces.load("conversations", rng, duration_s=600.0)             # CHAT
    conversations.load(rng, config=conversations.AGENTS)
    night = replace(CHAT, rate_per_s=2.0, start="2024-05-06 00:00:00")     # of dataclasses

It gives an `LLMRequests`, as "llm_requests" does, with all of its columns. A session is of one
application, and its first prompt is the system prompt of that and some text. Each later prompt is
all of the one before, the answer to it, and more text. So sessions share system prompts, and the
turns of a session all that was said. Every length, gap and time is drawn on its own; what they
depend on is in `Config`. Sessions that began before the trace does are under way in it: traffic is
as heavy at its start as later, but for a cache all is new there.

Arrivals do not wait for answers: where a system is so slow that an answer takes longer than the
gap, the next turn comes before it.

PRESETS are calibrated to recordings. Percentiles and means of tokens, recorded and (drawn):

    preset  tokens  mean           p50          p90            p99            recording
    CHAT    prompt  1155  (1210)   1020 (1000)  2735  (2671)   4142  (4142)   Azure conversations
            output   211   (210)    129  (129)   424   (424)    601   (605)
    CODE    prompt  2048  (2068)   1469 (1464)  5188  (5254)   7436  (7437)   Azure code
            output    28    (29)     13   (13)    55    (56)    251   (259)
    LONG    prompt 12035 (12099)   6909 (6898) 27367 (27234)  85400 (85174)   Mooncake conversations
            output   343   (336)    350  (349)   597   (598)   1119  (1125)
    AGENTS  prompt       (11998)        (7790)       (27014)        (61867)   none
            output         (201)         (110)         (419)         (1516)

    preset  rate_per_s   prefix hit share    variance over mean of counts in
                         of 50,000 requests  10 s           60 s
    CHAT    5.53 (5.5)   .54 (.57)           3.9  (3.3)     16   (14)
    CODE    2.57 (2.57)      (.44)           72    (66)     164  (149)
    LONG    3.40 (3.4)   .37 (.40)           2.1  (1.4)     3.0  (2.8)
    AGENTS       (3.0)   .62 (.64)                (3.2)          (12)

The hit share is that of a cache without bounds, `LLMRequests.prefix_hit_share`. That of CHAT and of
AGENTS is what Wang et al. found for a cloud's own chat and for its programming interface; that of
LONG is the recording's. Azure's recordings have no prefixes, so that of CODE follows from
assumptions. Turns in a session: CHAT 2.57, WildChat's 2,713,695 in 1,054,528 conversations; LONG
1.63, as 39 % of Mooncake's requests go on from an earlier one by more than the first block. Gaps
within a session: Mooncake's, from a request to the next that goes on from it, have quartiles of 66,
123 and 264 s, which a log-normal law of median 123 s and sigma 1 has; CHAT takes them too. Also
from there is what LONG's later turns add. What has no source is assumed: all of AGENTS but its hit
share; of CODE the sessions; of CHAT the length of later questions and of system prompts, and how
many applications there are.

Not matched: prompts of CHAT between the percentiles above, as the recording's are crowded about
1,020 to 1,190 tokens (p75 is 1,189, drawn 1,640; p95 is 4,083, drawn 3,520); dependence of lengths
on each other, on the time and on the application; in LONG, the requests that leave an earlier
prompt before its end.

References: files of Azure and Mooncake as in "llm_requests"; Wang et al.: KVCache cache in the
wild: characterizing and optimizing KVCache cache at a large cloud provider, USENIX ATC 2025,
https://arxiv.org/abs/2506.02634; Zhao et al.: WildChat: 1M ChatGPT interaction logs in the wild,
ICLR 2024, https://arxiv.org/abs/2405.01470.
"""

import numpy as np

from marlserve.traces import utc
from marlserve.traces.conversations import blocks, sessions
from marlserve.traces.conversations.config import Config
from marlserve.traces.conversations.lengths import Lengths
from marlserve.traces.conversations.presets import AGENTS, CHAT, CODE, LONG, PRESETS
from marlserve.traces.llm_requests import COLUMNS, LLMRequests

__all__ = [
    "AGENTS",
    "CHAT",
    "CODE",
    "COLUMNS",
    "LONG",
    "PRESETS",
    "Config",
    "LLMRequests",
    "Lengths",
    "load",
]


def load(
    rng: np.random.Generator | None, *, config: Config = CHAT, duration_s: float = 3600.0
) -> LLMRequests:
    """Draw a trace of `duration_s` seconds from `rng`.

    Raises:
        ValueError: for a duration that is negative or not finite, and without an `rng`.
    """
    if rng is None:
        raise ValueError("rng is None; a synthetic trace is drawn from it")
    if not 0.0 <= duration_s < np.inf:
        raise ValueError(f"duration_s is {duration_s}; expected a finite, non-negative number")
    start_s = utc.epoch_s("start", config.start) if config.start else 0.0
    turns = sessions.draw(rng, config, start_s, duration_s)
    ids, starts = blocks.ids(turns, sessions.system_tokens(config), config.block_tokens)
    columns = {name: getattr(turns, name) for name in COLUMNS}
    return LLMRequests(columns, start_s + duration_s, start_s, ids, starts, config.block_tokens)
