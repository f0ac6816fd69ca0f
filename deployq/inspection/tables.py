"""An inspection as rich tables."""

from __future__ import annotations

from rich.table import Table

from deployq.console import open_console
from deployq.inspection.facts import Grid, Inspection, Row

LOG_WIDTH = 150
"""Columns of a table where there is no terminal to ask."""


def print_inspection(inspection: Inspection) -> None:
    """Weights, tensors, totals."""
    console = open_console(LOG_WIDTH)
    console.print(_weights(inspection))
    console.print(_tensors(inspection))
    for line in total_lines(inspection):
        console.print(line)


def _weights(inspection: Inspection) -> Table:
    table = Table(title="layers with weights", title_justify="left")
    table.add_column("layer", overflow="fold")
    for column in ("operator", "type", "shape"):
        table.add_column(column)
    for column in ("bytes", "scale", "scales", "bias", "MACs", "share"):
        table.add_column(column, justify="right")
    for row in inspection.rows:
        if row.weight is None:
            continue
        weight = row.weight
        table.add_row(
            row.name, row.operator, _qtype(weight.grid), _shape(weight.shape),
            f"{weight.size:,}", _span(weight.grid.scale),
            f"{weight.grid.scales} per {weight.grid.granularity}", weight.bias or "none",
            *_work(row),
        )  # fmt: skip
    return table


def _work(row: Row) -> tuple[str, str]:
    if row.macs is None or row.share is None:
        return "?", "?"
    return f"{row.macs:,}", f"{100 * row.share:.1f} %"


def _tensors(inspection: Inspection) -> Table:
    table = Table(title="tensors, for one sample", title_justify="left")
    table.add_column("tensor", overflow="fold")
    table.add_column("operator")
    table.add_column("codes")
    for column in ("scale", "zero point", "covers", "shape", "bytes"):
        table.add_column(column, justify="right")
    for row in inspection.rows:
        table.add_row(
            row.name, row.operator, *_codes(row.grid),
            "?" if row.shape is None else _shape(row.shape),
            "?" if row.size is None else f"{row.size:,}",
        )  # fmt: skip
    return table


def _codes(grid: Grid | None) -> tuple[str, str, str, str]:
    """Type, scale, zero point and reals that codes cover."""
    if grid is None:
        return "f32", "", "", ""
    zero_point = " to ".join(str(code) for code in dict.fromkeys(grid.zero_point))
    covers = f"{grid.covers[0]:.4g} to {grid.covers[1]:.4g}"
    return _qtype(grid), _span(grid.scale), zero_point, covers


def _qtype(grid: Grid) -> str:
    return f"{grid.qtype}[{grid.codes[0]},{grid.codes[1]}]"


def _shape(shape: tuple[int, ...]) -> str:
    return "x".join(str(size) for size in shape) or "scalar"


def _span(scale: tuple[float, float]) -> str:
    low, high = (f"{value:.4g}" for value in scale)
    return low if low == high else f"{low} to {high}"


def total_lines(inspection: Inspection) -> list[str]:
    """The totals, one fact a line."""
    target = "no target" if inspection.target is None else f"target {inspection.target}"
    text = [
        f"{inspection.source}: {target}",
        f"parameters: {inspection.parameters:,} codes in {inspection.size:,} bytes",
        "files: " + ", ".join(f"{name} {size:,} bytes" for name, size in inspection.files),
    ]
    if inspection.macs is None or inspection.live_size is None:
        return [*text, "sizes of one sample: unknown, the file leaves dimensions free"]
    share = 100 * (inspection.integer_share or 0)
    text.append(f"multiply-accumulates: {inspection.macs:,}, {share:.1f} % of them in integers")
    text += [f"float: {line}" for line in inspection.floats]
    live = f"largest live activations: {inspection.live_size:,} bytes, at {inspection.live_at}"
    return [*text, live]
