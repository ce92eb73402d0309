"""What the paper measured whose balancers these are, for comparison with ours by ratios.

Yao, Ding and Clausen, "Multi-Agent Reinforcement Learning for Network Load Balancing in Data
Center", CIKM 2022, https://doi.org/10.1145/3511808.3557133: mean job completion times, each the
mean of 5 runs, on servers of their own. The captions of its tables give no unit; that it is ms is
inferred from the axes of its figures.

Moderate is 2 balancers and 7 servers under a replay that mixes wiki and static pages; its numbers
are those of the column of wiki pages alone. Large is 6 balancers and 24 servers under Poisson flows
of one kind. Rates are offered flows per second, of all kinds.
"""

import pandas as pd

from marlserve.experiments.reports.table import ratios

CITATION = (
    "Yao, Ding and Clausen, CIKM 2022, [doi:10.1145/3511808.3557133]"
    "(https://doi.org/10.1145/3511808.3557133)"
)
QMIX = "qmix"
REFERENCES = {"SED": "sed", "LSQ": "lsq", "WCMP": "wcmp", "ECMP": "random"}  # {theirs: ours}

# {preset: {flows per second: {policy: mean ms}}}
COMPLETION_MS: dict[str, dict[float, dict[str, float]]] = {
    "moderate": {
        518.8: {"QMIX": 63.4, "SED": 67.2, "LSQ": 78.7, "WCMP": 92.6, "ECMP": 529.4},
        690.9: {"QMIX": 166.9, "SED": 189.3, "LSQ": 236.6, "WCMP": 443.6, "ECMP": 3178.9},
        696.5: {"QMIX": 88.0, "SED": 182.6, "LSQ": 207.9, "WCMP": 530.7, "ECMP": 2748.5},
        796.3: {"QMIX": 188.8, "SED": 150.9, "LSQ": 208.8, "WCMP": 466.8, "ECMP": 3018.5},
    },
    "large": {
        398.5: {"QMIX": 340.7, "SED": 338.6, "LSQ": 332.7, "WCMP": 629.9, "ECMP": 5907.2},
        419.3: {"QMIX": 419.7, "SED": 410.3, "LSQ": 420.2, "WCMP": 1027.5, "ECMP": 7841.1},
    },
}


def published(preset: str) -> dict[str, list[float]]:
    """QMIX over each of `REFERENCES`, by rate: {"paper, 518.8/s": [QMIX/SED, ...]}; none for a
    preset that the paper does not have."""
    return {
        f"paper, {rate:g}/s": [times_ms["QMIX"] / times_ms[name] for name in REFERENCES]
        for rate, times_ms in COMPLETION_MS.get(preset, {}).items()
    }


def ours(rows: pd.DataFrame) -> pd.DataFrame:
    """The same of results.csv: see `table.ratios`; of mean latencies of completed jobs.

    Raises:
        ValueError: if one of the policies was not played.
    """
    pairs = [(QMIX, reference) for reference in REFERENCES.values()]
    return ratios(rows, "mean_latency_s", pairs)
