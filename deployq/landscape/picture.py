"""The picture of a plane: contours of the loss, and models where they are."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from deployq.errors import InputError
from deployq.landscape.facts import FloatArray, Landscape, Mark, Surface

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LEVELS = 16
"""Lines of equal loss, each enclosing as much more of the grid as the one before."""

PANEL = (5.4, 4.8)
"""Inches of one plane on one set of data."""

SHAPES = "osDPXv*"
"""Of models that are no corners."""

_EDGE: dict[str, Any] = {"markeredgecolor": "black", "markersize": 9}


def check_matplotlib() -> None:
    """Refuse to begin what cannot be drawn.

    Raises:
        InputError: matplotlib is not installed.
    """
    try:
        import_module("matplotlib")
    except ImportError as error:
        raise InputError(
            "matplotlib",
            "matplotlib draws pictures",
            found=str(error),
            next_step='pip install "deployq[plots]"',
        ) from error


def draw_picture(landscape: Landscape, path: Path) -> None:
    """Write a PNG: a row for each plane, a column for each set of data.

    The same landscape gives the same bytes for the same version of matplotlib, whatever the
    user's settings of it.

    Raises:
        InputError: matplotlib is not installed.
    """
    check_matplotlib()
    from matplotlib import style
    from matplotlib.figure import Figure

    planes = list(dict.fromkeys(surface.plane for surface in landscape.surfaces))
    data = list(dict.fromkeys(surface.data for surface in landscape.surfaces))
    with style.context("default"):
        size = (PANEL[0] * len(data), PANEL[1] * len(planes))
        figure = Figure(figsize=size, dpi=120, layout="constrained")
        panels = figure.subplots(len(planes), len(data), squeeze=False)
        for surface in landscape.surfaces:
            axes = panels[planes.index(surface.plane), data.index(surface.data)]
            _draw_surface(axes, landscape, surface)
            _draw_marks(axes, landscape.marks)
        figure.savefig(path, format="png", metadata={"Software": None})


def _draw_surface(axes: Axes, landscape: Landscape, surface: Surface) -> None:
    """Levels are common to all planes of one set of data."""
    from matplotlib.colors import BoundaryNorm

    levels = contour_levels([s.losses for s in landscape.surfaces if s.data == surface.data])
    axes.set_title(f"{surface.plane} plane, loss on {surface.data}", fontsize="medium")
    axes.set_xlabel("distance along the first edge")
    axes.set_ylabel("distance from it")
    axes.set_aspect("equal", adjustable="datalim")
    if levels is None:
        return
    losses = np.ma.masked_invalid(surface.losses)
    filled = axes.contourf(
        landscape.x, landscape.y, losses, levels, cmap="viridis", norm=BoundaryNorm(levels, 256)
    )  # fmt: skip
    axes.contour(landscape.x, landscape.y, losses, levels, colors="white", linewidths=0.4)
    assert axes.figure is not None
    axes.figure.colorbar(filled, ax=axes, format="%.3g")


def contour_levels(losses: list[FloatArray]) -> FloatArray | None:
    """Quantiles of the finite losses, rising; None where there is none."""
    values = np.concatenate([each.ravel() for each in losses])
    values = values[np.isfinite(values)]
    if not len(values):
        return None
    levels: FloatArray = np.unique(np.quantile(values, np.linspace(0.0, 1.0, LEVELS)))
    if len(levels) > 1:
        return levels
    around: FloatArray = levels[0] + np.array([-0.5, 0.5]) * max(abs(float(levels[0])), 1.0)
    return around


def _draw_marks(axes: Axes, marks: tuple[Mark, ...]) -> None:
    """Corners bear their names; the legend has the others."""
    others = [mark for mark in marks if not mark.corner]
    for mark in marks:
        if mark.corner:
            axes.plot([mark.x], [mark.y], "^", color="white", **_EDGE)
            axes.annotate(
                mark.name, (mark.x, mark.y), (0, 8), textcoords="offset points", ha="center",
                color="white", fontsize="small", path_effects=_outlined(),
            )  # fmt: skip
    for place, mark in enumerate(others):
        shape, colour = SHAPES[place % len(SHAPES)], f"C{(place + 1) % 10}"
        axes.plot(
            [mark.x], [mark.y], shape, color=colour, label=mark.name, linestyle="none", **_EDGE
        )
    if others:
        axes.legend(fontsize="small", loc="best")


def _outlined() -> list[Any]:
    from matplotlib.patheffects import withStroke

    return [withStroke(linewidth=2.0, foreground="black")]
