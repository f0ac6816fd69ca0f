"""Ranges of integers, and the width that holds them."""

from __future__ import annotations

from dataclasses import dataclass

from deployq.arithmetic.contract import Accumulator


@dataclass(frozen=True)
class Interval:
    """The integers from ``low`` to ``high``, both taken; Python integers of any size."""

    low: int
    high: int

    @property
    def bits(self) -> int:
        """Width of the narrowest two's complement register that holds every value."""
        return 1 + max((end if end >= 0 else ~end).bit_length() for end in (self.low, self.high))

    @property
    def reach(self) -> int:
        """The largest magnitude."""
        return max(-self.low, self.high)

    def fits(self, accumulator: Accumulator) -> bool:
        """True when no value leaves the accumulator."""
        return accumulator.low <= self.low and self.high <= accumulator.high

    def hull(self, other: Interval) -> Interval:
        """The least interval with both inside."""
        return Interval(min(self.low, other.low), max(self.high, other.high))

    def moved(self, step: int) -> Interval:
        """Every value, ``step`` higher."""
        return Interval(self.low + step, self.high + step)

    def clamped(self, low: int, high: int) -> Interval:
        """The values, each saturated to ``low .. high``."""
        return Interval(min(max(self.low, low), high), min(max(self.high, low), high))
