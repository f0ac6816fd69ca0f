"""Integers in a range whose weighted sum is a wanted number."""

from __future__ import annotations

import numpy as np

from deployq.arithmetic.rounding import Int64Array

DISTINCT = 24
"""Coefficients that the repair of a rest looks at."""
STEPS = np.arange(-6, 7)
"""Changes that it tries."""


def solve(coefficients: Int64Array, low: int, high: int, wanted: int) -> Int64Array | None:
    """Values in ``low..high`` (0 among them) with ``sum(coefficients * values) == wanted``.

    Large coefficients first, then a repair by two of them; None where that does not end at the
    number, which is no proof that nothing does.
    """
    values, rest = np.zeros(len(coefficients), np.int64), wanted
    for i in np.argsort(-np.abs(coefficients), kind="stable"):
        size = int(coefficients[i])
        if size == 0 or rest == 0:
            break
        value = abs(rest) // abs(size) * (1 if (rest > 0) == (size > 0) else -1)
        values[i] = min(max(value, low), high)
        rest -= size * int(values[i])
    if rest and not _repair(coefficients, low, high, rest, values):
        return None
    return values


def _repair(c: Int64Array, low: int, high: int, rest: int, values: Int64Array) -> bool:
    """Changes two values by small steps, in place, so that the sum grows by ``rest``."""
    _, places = np.unique(c, return_index=True)
    places = places[c[places] != 0]
    places = places[np.argsort(np.abs(c[places]), kind="stable")][:DISTINCT]
    for i in places:
        steps = STEPS[(values[i] + STEPS >= low) & (values[i] + STEPS <= high)]
        for j in places:
            left = rest - c[i] * steps
            other = left // c[j]
            fits = (left % c[j] == 0) & (values[j] + other >= low) & (values[j] + other <= high)
            if i != j and fits.any():
                first = int(np.flatnonzero(fits)[0])
                values[i] += steps[first]
                values[j] += other[first]
                return True
    return False
