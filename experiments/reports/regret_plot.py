"""Cumulative regret against pulls, drawn from the regret.csv of a preset's folder."""

from pathlib import Path

from marlserve.experiments.reports import regret
from marlserve.experiments.reports.plot import draw_curves, in_thousands, new_figure, save


def cumulative_regret(folder: Path) -> Path:
    """One line per policy, its mean and 95 % interval over seeds: see `statistics`.

    The legend has the order of the lines' ends. What has runs in the folder has the colours of
    `plot.learning_curves`; other policies are dashed.

    Args:
        folder: of the preset.

    Returns:
        the file, plots/regret.png.

    Raises:
        ValueError: if there is no regret.csv.
    """
    curves = {
        policy: [points.rename(columns={"pulls": "env_steps"}) for points in seeds.values()]
        for policy, seeds in regret.by_seed(regret.read(Path(folder, "regret.csv"))).items()
    }
    ends = {
        policy: sum(points[regret.REGRET].iloc[-1] for points in parts) / len(parts)
        for policy, parts in curves.items()
    }
    trained = {path.parent.name for path in Path(folder).glob("*/seed_*")}
    ordered = sorted(curves, key=lambda policy: (policy not in trained, policy))
    colours = {policy: f"C{i}" for i, policy in enumerate(ordered)}
    from_above = sorted(curves, key=lambda policy: ends[policy], reverse=True)
    figure, axes = new_figure()
    draw_curves(axes, {name: curves[name] for name in from_above}, regret.REGRET, colours)
    for policy, line in zip(from_above, axes.get_lines(), strict=True):
        line.set_linestyle("-" if policy in trained else "--")
    axes.set(xlabel="pulls", ylabel="cumulative regret")
    axes.set_xlim(left=0)
    axes.set_ylim(bottom=0)
    in_thousands(axes.yaxis)
    axes.grid(alpha=0.3)
    axes.legend(fontsize="x-small", loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False)
    return save(figure, folder, "regret.png")
