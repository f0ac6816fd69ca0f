"""Axes: a span of reals on 0 to 100, and round numbers on it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Tick:
    """A round number of an axis.

    Args:
        at: its place, 0 to 100.
        label: the number as text.
    """

    at: float
    label: str


@dataclass(frozen=True)
class Axis:
    """A linear axis from ``low`` to ``high``, drawn from 0 to 100; ``low`` is below ``high``."""

    low: float
    high: float

    @classmethod
    def over(cls, values: Sequence[float]) -> Axis:
        """From the lowest to the highest value; one value lies in the middle of one unit."""
        low, high = min(values), max(values)
        return cls(low, high) if low < high else cls(low - 0.5, high + 0.5)

    def at(self, value: float) -> float:
        """Place of a value, 0 to 100; values outside lie on the edge. Two decimals."""
        share = (value - self.low) / (self.high - self.low)
        return round(100 * min(max(share, 0.0), 1.0), 2)

    def ticks(self, count: int = 5) -> tuple[Tick, ...]:
        """About ``count`` multiples of 1, 2 or 5 times a power of ten."""
        rough = (self.high - self.low) / max(count, 1)
        power = 10.0 ** math.floor(math.log10(rough))
        step = next(step * power for step in (1, 2, 5, 10) if step * power >= rough)
        first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
        return tuple(Tick(self.at(n * step), f"{n * step:.6g}") for n in range(first, last + 1))
