"""Named settings: CHAT, CODE, LONG and AGENTS; the package says what they are like.

Lengths of answers are quantiles of the recordings. What sessions begin with was fitted, so that the
prompts of all turns together, which are longer, have the quantiles of the recorded prompts.
"""

from marlserve.traces.conversations.config import Config
from marlserve.traces.conversations.lengths import Lengths

CHAT = Config(
    rate_per_s=5.5,
    mean_turns=2.57,
    gap_median_s=123.0,
    gap_sigma=1.0,
    first_tokens=Lengths(1, 7, 34, 200, 950, 960, 1770, 4142, 4142),
    next_tokens=Lengths(2, 12, 25, 60, 140, 350, 600, 1200, 2000),
    output_tokens=Lengths(7, 54, 85, 129, 395, 424, 451, 601, 1000),
    context_tokens=4142,
    applications=20,
    popularity=1.0,
    system_tokens=Lengths(64, 64, 64, 128, 192, 256, 512, 512, 512),
    block_tokens=64,
    burst_factor=2.5,
    burst_share=0.2,
    mean_burst_s=120.0,
)

CODE = Config(
    rate_per_s=2.57,
    mean_turns=2.0,
    gap_median_s=20.0,
    gap_sigma=1.0,
    first_tokens=Lengths(2, 32, 380, 1230, 2390, 4900, 7170, 7437, 7437),
    next_tokens=Lengths(1, 5, 15, 40, 120, 400, 700, 1500, 3000),
    output_tokens=Lengths(6, 7, 9, 13, 24, 55, 90, 251, 800),
    context_tokens=7437,
    applications=10,
    popularity=1.0,
    system_tokens=Lengths(64, 64, 64, 64, 64, 64, 64, 64, 64),
    block_tokens=64,
    burst_factor=60.0,
    burst_share=0.04,
    mean_burst_s=6.0,
)

LONG = Config(
    rate_per_s=3.4,
    mean_turns=1.63,
    gap_median_s=123.0,
    gap_sigma=1.0,
    first_tokens=Lengths(54, 262, 1300, 5400, 13500, 24000, 33500, 83000, 126195),
    next_tokens=Lengths(2, 20, 40, 110, 500, 4000, 8000, 25000, 60000),
    output_tokens=Lengths(1, 24, 156, 350, 472, 597, 698, 1118, 2000),
    context_tokens=126195,
    applications=1,
    popularity=0.0,
    system_tokens=Lengths(512, 512, 512, 512, 512, 512, 512, 512, 512),
    block_tokens=512,
    burst_factor=1.5,
    burst_share=0.2,
    mean_burst_s=60.0,
)

AGENTS = Config(
    rate_per_s=3.0,
    mean_turns=2.2,
    gap_median_s=12.0,
    gap_sigma=1.0,
    first_tokens=Lengths(20, 150, 500, 1800, 5000, 10000, 15000, 30000, 80000),
    next_tokens=Lengths(20, 200, 700, 2000, 5000, 11000, 16000, 30000, 60000),
    output_tokens=Lengths(1, 20, 45, 110, 220, 420, 620, 1500, 4000),
    context_tokens=131072,
    applications=12,
    popularity=1.0,
    system_tokens=Lengths(512, 600, 1024, 2048, 3072, 5000, 6000, 8192, 8192),
    block_tokens=512,
    burst_factor=2.0,
    burst_share=0.2,
    mean_burst_s=60.0,
)

PRESETS = {"chat": CHAT, "code": CODE, "long": LONG, "agents": AGENTS}
