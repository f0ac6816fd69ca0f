"""A search as a table."""

from __future__ import annotations

from pathlib import Path

from rich.table import Table

from deployq.console import open_console
from deployq_calibration.evolq import Evolved


def print_evolved(evolved: Evolved, path: Path) -> None:
    """Fitness before and after, of searched and held-back samples, and what was written."""
    settings, console = evolved.settings, open_console()
    title = f"{settings.fitness} to the float network's outputs, lower is nearer"
    table = Table("samples", title=title, title_justify="left")
    for column in ("before", "after", "change"):
        table.add_column(column, justify="right")
    rows = {"searched": (evolved.before, evolved.after)}
    if evolved.held_back_after is not None:
        rows["held back"] = (evolved.held_back[0], evolved.held_back_after)
    for name, (before, after) in rows.items():
        table.add_row(name, f"{before:.6f}", f"{after:.6f}", f"{after - before:+.6f}")
    console.print(table)
    console.print(
        f"{len(evolved.blocks)} blocks, {evolved.genes} scales, {evolved.evaluations} evaluations"
        + (f"; stopped: {evolved.stopped}" if evolved.stopped else "")
    )
    if evolved.snapped is not None:
        console.print(
            f"any scales: {evolved.unconstrained:.6f}, on the lattice {evolved.snapped:.6f}: "
            + ("the start" if evolved.snapped < evolved.before else "no better a start")
        )
    console.print(str(path))
