"""Running counts of one tensor over batches."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from deployq.divergence.facts import Gap, Row
from deployq.divergence.sides import Array
from deployq.errors import InputError
from deployq.verifier.sqnr import decibels
from deployq.verifier.tally import Tally


@dataclass
class _Counts:
    """Of one way to run B."""

    tally: Tally
    power: float = 0.0
    noise: float = 0.0

    def add(self, a: Array, b: Array, zero_point: int) -> None:
        self.tally.add(a, b)
        self.power += float(np.square(a - zero_point, dtype=np.float64).sum())
        self.noise += float(np.square(a - b, dtype=np.float64).sum())

    def gap(self) -> Gap:
        row = self.tally.row()
        return Gap(row.different, row.max_lsb, decibels(self.power, self.noise))


@dataclass
class RowCounts:
    """Counts of one tensor; codes of both sides are on A's zero point."""

    tensor: str
    zero_point: int
    free: _Counts = field(init=False)
    fed: _Counts = field(init=False)
    was_fed: bool = True

    def __post_init__(self) -> None:
        self.free, self.fed = (_Counts(Tally(self.tensor, 0)) for _ in range(2))

    def add(self, a: Array, free: Array, fed: Array | None) -> None:
        """One batch of A, of B on its own, and of B fed A's codes.

        Raises:
            InputError: the sides give the tensor two shapes.
        """
        if a.shape != free.shape:
            raise InputError(
                f"tensor {self.tensor}",
                "both sides give a tensor one shape",
                found=f"{a.shape} and {free.shape}",
                next_step="compare files of one network",
            )
        self.free.add(a, free, self.zero_point)
        self.was_fed = self.was_fed and fed is not None
        if fed is not None:
            self.fed.add(a, fed, self.zero_point)

    def row(self) -> Row:
        counted = self.free.tally.row()
        fed = self.fed.gap() if self.was_fed else None
        return Row(self.tensor, counted.compared, counted.distinct, self.free.gap(), fed)
