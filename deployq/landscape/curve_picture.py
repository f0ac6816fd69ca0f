"""The picture of sharpness: rise of the loss against the radius, a colour for each model."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from deployq.landscape.facts import FloatArray, SharpnessCurve
from deployq.landscape.picture import PANEL, check_matplotlib

if TYPE_CHECKING:
    from matplotlib.axes import Axes

TITLES = ("along the gradient", "along random directions: mean, least to greatest")
"""Of the panels; each has a scale of its own: rises along random directions are small."""


def draw_curves(curves: Mapping[str, SharpnessCurve], path: Path) -> None:
    """Write a PNG: one panel for the adversarial direction, one for the random ones.

    The same curves give the same bytes for the same version of matplotlib, whatever the user's
    settings of it.

    Args:
        curves: of models by name, at least one.

    Raises:
        InputError: matplotlib is not installed.
    """
    check_matplotlib()
    from matplotlib import style
    from matplotlib.figure import Figure

    with style.context("default"):
        figure = Figure(figsize=(2 * PANEL[0], PANEL[1]), dpi=120, layout="constrained")
        gradient, random = figure.subplots(1, 2)
        for place, (name, curve) in enumerate(curves.items()):
            colour = f"C{place % 10}"
            _draw_gradient(gradient, name, curve, colour)
            _draw_random(random, name, curve, colour)
        units = next(iter(curves.values())).units
        for axes, title in zip((gradient, random), TITLES, strict=True):
            axes.set_title(title, fontsize="medium")
            axes.set_xlabel(f"radius ({units})")
            axes.set_ylabel("rise of the loss")
            axes.axhline(0.0, color="gray", linewidth=0.6)
            axes.legend(fontsize="small", loc="upper left")
        figure.savefig(path, format="png", metadata={"Software": None})


def _draw_gradient(axes: Axes, name: str, curve: SharpnessCurve, colour: str) -> None:
    axes.plot(curve.radii, _finite(curve.adversarial), "o-", color=colour, markersize=4, label=name)


def _draw_random(axes: Axes, name: str, curve: SharpnessCurve, colour: str) -> None:
    rows = _finite(curve.random)
    axes.plot(curve.radii, rows.mean(0), "o--", color=colour, markersize=4, label=name)
    axes.fill_between(curve.radii, rows.min(0), rows.max(0), color=colour, alpha=0.2, linewidth=0)


def _finite(rises: object) -> FloatArray:
    """Blank where a rise is not finite."""
    values = np.array(rises, np.float64)
    return np.where(np.isfinite(values), values, np.nan)
