"""Where a plane is looked at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from deployq.errors import InputError
from deployq.landscape.facts import PlaneKind

BOTH = (PlaneKind.RAW, PlaneKind.QUANTIZED)


@dataclass(frozen=True)
class Grid:
    """Places of a plane, and what their weights are.

    Args:
        count: places each way, at least 2.
        margin: around the triangle, in its widths and heights, not negative.
        planes: which weights; at least one.

    Raises:
        InputError: a value out of its range.
    """

    count: int = 21
    margin: float = 0.2
    planes: Sequence[PlaneKind] = BOTH

    def __post_init__(self) -> None:
        if self.count < 2:
            raise _fault("grid", "a grid has 2 places each way, or more", self.count, ">= 2")
        if not 0 <= self.margin < float("inf"):
            raise _fault("margin", "a margin is a length", self.margin, ">= 0")
        if not self.planes:
            raise _fault("planes", "a plane is raw, quantized, or both", "none", ", ".join(BOTH))

    def steps(self, models: int) -> int:
        """Evaluations that a measurement tells of.

        Args:
            models: corners and others.
        """
        return models + len(self.planes) * self.count**2


GRID = Grid()
"""[-0.2, 1.2] each way in 21 places, as in the released code of Garipov et al."""


def _fault(where: str, rule: str, found: object, allowed: str) -> InputError:
    return InputError(where, rule, found=str(found), allowed=allowed, next_step=f"change {where}")
