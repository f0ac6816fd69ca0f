"""Where codes differ: one strip a comparison, one column a tensor, the same columns in all."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from deployq.verifier.report import Parity
from deployq.verifier.tally import MOST_LSB, LayerRow

FLOOR = -7.0
"""Decimal logarithm of the share of differing codes that is drawn lowest; 0 is drawn highest."""
HEIGHT = 40
SHORTEST = 8


@dataclass(frozen=True)
class Cell:
    """One tensor in one comparison.

    Args:
        left, width: of its column, 0 to 100.
        height: of its bar, 0 to :data:`HEIGHT`; 0 where no code differs.
        state: ``same``, ``near`` (differences that the law allows), ``missed`` or ``absent``.
        text: tensor and counts.
    """

    left: float
    width: float
    height: float
    state: str
    text: str


@dataclass(frozen=True)
class Strip:
    """One comparison.

    Args:
        parity: its counts.
        cells: one a column.
        worst: the row with the most differing codes in words; empty where all are equal.
    """

    parity: Parity
    cells: tuple[Cell, ...]
    worst: str


def difference_strips(parities: Sequence[Parity]) -> tuple[Strip, ...]:
    """The strips; columns are all tensors that any comparison has, outputs last.

    The order is that of the comparison with the most tensors: others leave some out.
    """
    listed = [[row.tensor for row in parity.layers] for parity in parities]
    listed.sort(key=lambda names: -sum(not _is_output(name) for name in names))
    tensors = list(dict.fromkeys(name for names in listed for name in names))
    tensors.sort(key=_is_output)
    return tuple(_strip(parity, tensors) for parity in parities)


def _is_output(tensor: str) -> bool:
    return tensor.startswith("output ")


def _strip(parity: Parity, tensors: Sequence[str]) -> Strip:
    rows = {row.tensor: row for row in parity.layers}
    width = 100 / max(len(tensors), 1)
    cells = tuple(
        _cell(parity, rows.get(tensor), tensor, n * width, width)
        for n, tensor in enumerate(tensors)
    )
    worst = max(parity.layers, key=lambda row: row.different, default=None)
    text = "" if worst is None or not worst.different else f"{worst.tensor}: {_sizes(worst)}"
    return Strip(parity, cells, text)


def _cell(parity: Parity, row: LayerRow | None, tensor: str, left: float, width: float) -> Cell:
    place = round(left, 3), round(0.86 * width, 3)
    if row is None:
        return Cell(*place, 0, "absent", f"{tensor}: not compared here")
    if not row.different:
        return Cell(*place, 0, "same", f"{tensor}: {row.compared:,} codes equal")
    log = max(math.log10(row.different / row.compared), FLOOR)
    height = SHORTEST + (HEIGHT - SHORTEST) * (1 - log / FLOOR)
    state = "missed" if parity.broken(row) else "near"
    text = f"{tensor}: {row.different:,} of {row.compared:,} codes differ, up to {row.max_lsb} LSB"
    return Cell(*place, round(height, 1), state, text)


def _sizes(row: LayerRow) -> str:
    """How many codes differ by how much."""
    parts = [
        f"{count:,} by {size}{' or more' if size == MOST_LSB else ''} LSB"
        for size, count in row.by_lsb
    ]
    return f"{row.different:,} of {row.compared:,} codes differ: " + ", ".join(parts)
