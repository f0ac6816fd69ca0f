"""A loss surface and sharpness as tables."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from rich.table import Table

from deployq.console import open_console
from deployq.landscape.facts import Landscape, Sharpness


def print_landscape(landscape: Landscape, path: Path) -> None:
    """A row for each model, the range of each surface, and what was written."""
    console = open_console()
    data = list(dict.fromkeys(surface.data for surface in landscape.surfaces))
    table = Table("model", title="loss of the models", title_justify="left")
    for column in ("x", "y", "away", *data):
        table.add_column(column, justify="right")
    for mark in landscape.marks:
        places = (f"{value:.4g}" for value in (mark.x, mark.y, mark.away))
        table.add_row(mark.name, *places, *(f"{mark.losses[name]:.4f}" for name in data))
    console.print(table)
    for surface in landscape.surfaces:
        low, high = surface.losses.min(), surface.losses.max()
        console.print(f"{surface.plane} plane, {surface.data}: loss {low:.4f} to {high:.4f}")
    seen = ", ".join(f"{name} {count}" for name, count in landscape.samples.items())
    console.print(f"samples: {seen}; {path} and {path.with_suffix('.json').name}")


def print_sharpness(found: Mapping[str, Sharpness], path: Path | None = None) -> None:
    """A row for each model, and the picture where one was written."""
    first = next(iter(found.values()))
    title = f"rise of the loss at radius {first.radius} ({first.units}), {first.samples} samples"
    table = Table("model", title=title, title_justify="left")
    for column in ("loss", "largest eigenvalue", "adversarial", "random, mean", "random, worst"):
        table.add_column(column, justify="right")
    for name, sharp in found.items():
        rises = (sharp.adversarial, sharp.random_mean, sharp.random_worst)
        table.add_row(name, f"{sharp.loss:.4f}", _eigenvalue(sharp), *(f"{r:+.4f}" for r in rises))
    console = open_console()
    console.print(table)
    if path is not None:
        console.print(f"{path} and {path.with_suffix('.json').name}")


def _eigenvalue(sharp: Sharpness) -> str:
    if sharp.eigenvalue is None:
        return ""
    return f"{sharp.eigenvalue:.4g}" if sharp.settled else f"{sharp.eigenvalue:.4g}, not settled"
