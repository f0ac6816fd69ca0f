"""Bars of each layer's SQNR on one axis in dB."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from deployq.html_report.axis import Axis, Tick
from deployq.verifier.sqnr import LayerSqnr


@dataclass(frozen=True)
class Bar:
    """One figure of a layer.

    Args:
        kind: ``fed``, ``whole`` or ``weight``.
        start, width: on the axis, 0 to 100.
        end: where its value is.
        text: the figure, in dB.
    """

    kind: str
    start: float
    width: float
    end: float
    text: str


@dataclass(frozen=True)
class SqnrRow:
    """Bars of one tensor; a figure that is not defined has none."""

    tensor: str
    bars: tuple[Bar, ...]


@dataclass(frozen=True)
class SqnrChart:
    """All rows, and the axis they share."""

    rows: tuple[SqnrRow, ...]
    ticks: tuple[Tick, ...]


def sqnr_chart(rows: Sequence[LayerSqnr]) -> SqnrChart | None:
    """The chart; None where no layer has a figure."""
    found = [db for row in rows for _, db in _figures(row)]
    if not found:
        return None
    axis = Axis.over([0.0, *found])
    drawn = tuple(
        SqnrRow(row.tensor, tuple(_bar(axis, kind, db) for kind, db in _figures(row)))
        for row in rows
    )
    return SqnrChart(drawn, axis.ticks(6))


def _figures(row: LayerSqnr) -> list[tuple[str, float]]:
    named = (("fed", row.fed_db), ("whole", row.whole_db), ("weight", row.weight_db))
    return [(kind, db) for kind, db in named if db is not None]


def _bar(axis: Axis, kind: str, db: float) -> Bar:
    """From zero to the value, to the left where it is negative: more noise than signal."""
    zero, end = axis.at(0.0), axis.at(db)
    return Bar(kind, min(zero, end), round(abs(end - zero), 2), end, f"{db:.1f}")
