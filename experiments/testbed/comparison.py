"""What was measured, episode by episode, and the table of it.

results.csv has a row for each preset, policy and seed: what `episode.play` and `Contender.predict`
give. Rows are added as they are measured, and what is there is not measured again.
"""

from pathlib import Path

import pandas as pd

from marlserve.experiments.harness.locks import taking_turns
from marlserve.experiments.harness.run import write
from marlserve.experiments.reports.markdown import markdown_lines
from marlserve.experiments.reports.statistics import of_draws
from marlserve.experiments.reports.table import number, ratios
from marlserve.experiments.testbed.contenders import reference

KEYS = ["preset", "policy", "episode_seed"]
LATENCY = "mean_latency_s"
_SERVED = "at_server_s"  # of the latency
_HEADER = [
    *("policy", "episodes", "mean ms", "against, %", "p99 ms", "Jain", "not served"),
    *("at the servers, ms", "simulator, ms", "simulator, %", "step ms"),
]


def read(file: Path) -> pd.DataFrame:
    """The rows; none if there is no file yet."""
    return pd.read_csv(file) if file.exists() else pd.DataFrame(columns=KEYS)


def add(file: Path, row: dict[str, object]) -> None:
    """One more."""
    with taking_turns(file.parent):
        rows = pd.concat([read(file), pd.DataFrame([row])], ignore_index=True)
        write(file, rows.to_csv(index=False))


def table(rows: pd.DataFrame) -> str:
    """In Markdown, a part for each preset.

    Raises:
        ValueError: if there are no rows, or none of a reference.
    """
    if rows.empty:
        raise ValueError("nothing was measured yet")
    rows = rows.assign(
        oracle=False,
        training_seed=float("nan"),
        **{_SERVED: rows[LATENCY] - rows["way_s"]},
    )
    parts = []
    for preset, of_preset in rows.groupby("preset", sort=False):
        cells = [_cells(of_preset, name) for name in dict.fromkeys(of_preset["policy"])]
        align = ["---"] + ["---:"] * (len(_HEADER) - 1)
        parts += [f"**{preset}**:", markdown_lines(_HEADER, cells, align)]
    return "\n\n".join(parts) + "\n"


def _cells(rows: pd.DataFrame, policy: str) -> list[str]:
    own, standard = rows[rows["policy"] == policy], reference(policy)
    pair = rows[rows["policy"].isin({policy, standard})]
    ((_, ratio),) = ratios(pair, LATENCY, [(policy, standard)]).iterrows()

    def interval(values: pd.Series, scale: float = 1e3) -> str:
        found = of_draws(scale * values.to_numpy(float))
        return f"{number(found.value)} [{number(found.low)}, {number(found.high)}]"

    percent = [100.0 * (ratio[f"ratio{end}"] - 1.0) for end in ("", "_low", "_high")]
    against = f"{percent[0]:+.1f} [{percent[1]:+.1f}, {percent[2]:+.1f}] vs {standard}"
    predicted = own[f"predicted_{LATENCY}"]
    has_one = predicted.notna().all()
    steps = own["decision_s"]
    return [
        policy,
        str(own["episode_seed"].nunique()),
        interval(own[LATENCY]),
        "" if policy == standard else against,
        number(1e3 * own["p99_latency_s"].mean()),
        f"{own['jain_index'].mean():.3f}",
        number((own["rejected"] + own["failed"]).mean()),
        number(1e3 * own[_SERVED].mean()),
        number(1e3 * predicted.mean()) if has_one else "",
        f"{100 * (predicted.mean() / own[_SERVED].mean() - 1):+.1f}" if has_one else "",
        number(1e3 * steps.mean()) if steps.notna().all() else "",
    ]
