"""Figures as pixels, drawn without a display. Matplotlib is imported when the first one is."""

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def new_figure(width_in: float, height_in: float) -> "Figure":
    """An empty figure of this size in inches, of 100 pixels each."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width_in, height_in), layout="constrained", dpi=100)


def limit_for(values: np.ndarray) -> float:
    """Where an axis that begins at 0 ends: at 1, 2 or 5 times a power of ten, so that it seldom
    moves from one picture to the next."""
    most = max(float(np.max(values, initial=0.0)), 1e-9)
    power = 10.0 ** np.floor(np.log10(most))
    return float(next(x * power for x in (1.0, 2.0, 5.0, 10.0) if x * power >= most))


def drawn(figure: "Figure") -> np.ndarray:
    """What it looks like, [height, width, 3] uint8."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()
