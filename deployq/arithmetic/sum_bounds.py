"""The exact worst case of integer sums, from actual weights and the range of the input's codes.

A sum is linear in its inputs, so each product is largest at one end of the range, whatever the
others are, and a sum is largest where all its products are. A window cell on padding adds nothing:
the largest sum is looked for at every output position, those at the edges included.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from deployq.arithmetic.contract import Accumulator
from deployq.arithmetic.fan_in import absolute_sums
from deployq.arithmetic.geometry import Pair
from deployq.arithmetic.intervals import Interval
from deployq.arithmetic.rounding import BoolArray
from deployq.qparams import IntArray

Integers = npt.NDArray[Any]
"""int64, or Python integers where a sum of products could leave 64 bits."""

INT64_MAX = (1 << 63) - 1


@dataclass(frozen=True)
class SumBounds:
    """What the sums of one output channel can be.

    Args:
        finished: all products of a position, and the bias.
        partial: any of the terms, in any order; holds 0, where a sum begins.
        low_at, high_at: output row and column where a finished sum reaches its ends.
    """

    finished: Interval
    partial: Interval
    low_at: Pair
    high_at: Pair


@dataclass(frozen=True, eq=False)
class Window:
    """Which cells of a window lie on the map.

    Args:
        rows: (H', kh), for each output row.
        columns: (W', kw), for each output column.
        optional: any cell may also lie off the map.
    """

    rows: BoolArray
    columns: BoolArray
    optional: bool = False


WHOLE = Window(np.ones((1, 1), bool), np.ones((1, 1), bool))
"""That of a matrix product: one cell, one position."""


def channel_bounds(
    values: Interval,
    weight: IntArray,
    bias: Sequence[int],
    further: Sequence[int],
    window: Window = WHOLE,
) -> tuple[SumBounds, ...]:
    """Bounds of every output channel.

    Args:
        values: input codes less their zero point.
        weight: (O, C, kh, kw) codes less their zero points, int64; kh = kw = 1 for a matrix
            product.
        bias: (O,) a term of each sum.
        further: (O,) a term that joins finished sums in the register, before they are scaled.
        window: of a convolution.
    """
    most = int(absolute_sums(weight, 0).max(initial=0)) * values.reach
    held: Integers = weight if most <= INT64_MAX else weight.astype(object)
    peaks, dips = _peaks(values, held, window), _peaks(values, -held, window)
    return tuple(
        SumBounds(
            Interval(first - dip.finished, first + peak.finished),
            Interval(
                min(first, 0) + min(last, 0) - dip.partial,
                max(first, 0) + max(last, 0) + peak.partial,
            ),
            dip.at,
            peak.at,
        )
        for first, last, dip, peak in zip(bias, further, dips, peaks, strict=True)
    )


class _Peak(NamedTuple):
    """The largest sum of products of a channel, of any of its products, and where."""

    finished: int
    partial: int
    at: Pair


def _peaks(values: Interval, weight: Integers, window: Window) -> list[_Peak]:
    products = np.maximum(weight * values.low, weight * values.high)
    cells, parts = products.sum(1), np.maximum(products, 0).sum(1)
    if window.optional:
        cells = np.maximum(cells, 0)
    rows, row_at = np.unique(window.rows, axis=0, return_index=True)
    columns, column_at = np.unique(window.columns, axis=0, return_index=True)
    sums = (_over(rows, columns, table).reshape(len(weight), -1) for table in (cells, parts))
    finished, partial = sums
    found = []
    for own, any_order in zip(finished, partial, strict=True):
        row, column = divmod(int(own.argmax()), len(columns))
        at = int(row_at[row]), int(column_at[column])
        found.append(_Peak(int(own[row * len(columns) + column]), int(any_order.max()), at))
    return found


def _over(rows: BoolArray, columns: BoolArray, table: Integers) -> Integers:
    """(O, R, C): a table (O, kh, kw) summed over each pair of rows and columns."""
    return np.asarray(rows.astype(table.dtype) @ table @ columns.T.astype(table.dtype))


def most_weight(values: Interval, bias: int, accumulator: Accumulator) -> int:
    """The sum of |weight - zero point| up to which a channel fits, whatever its signs.

    In any order of summation: ``|sum| <= max |x - z_x| * sum |w - z_w| + |bias|``.
    """
    return max(0, accumulator.high - abs(bias)) // max(1, values.reach)
