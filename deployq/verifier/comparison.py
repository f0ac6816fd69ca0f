"""Running counts of one comparison: tensors, outputs, classes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from deployq.verifier.report import DECIDED_LSB, Judged, Parity, Top1
from deployq.verifier.tally import Tally, float_noise

Array = npt.NDArray[Any]

FLOAT_OUTPUT = 1e-5
"""Difference of two evaluations of one float operator, as a share of the largest magnitude."""
TINY = float(np.finfo(np.float32).tiny)


@dataclass
class Comparison:
    """Counts over the batches of one parity; the fields are those of :class:`Parity`."""

    name: str
    contract: str
    judged: Judged
    whole: bool = True
    tallies: dict[str, Tally] = field(default_factory=dict)
    images: int = 0
    top1: Top1 | None = None

    def add(self, tensor: str, wanted: int, reference: Array, found: Array) -> None:
        """Count one tensor of a batch; both sides are on one zero point.

        Args:
            wanted: distinct codes that make the row telling.
        """
        self.tallies.setdefault(tensor, Tally(tensor, wanted)).add(reference, found)

    def add_near(
        self, tensor: str, wanted: int, reference: Array, found: Array, steps: Array, bits: int
    ) -> None:
        """As :meth:`add`, of a run in float.

        Args:
            steps: the reference's value before rounding, in LSB.
            bits: width of the codes.
        """
        tally = self.tallies.setdefault(tensor, Tally(tensor, wanted, float_noise(bits)))
        tally.add(reference, found, steps)

    def add_output(self, name: str, reference: Array, found: Array, scale: float) -> None:
        """Count the reals of one output, equal to the bit or not, in steps of its scale."""
        steps = np.maximum(1, np.rint(np.abs(reference - found) / scale))
        gap = np.where(reference == found, 0, steps)
        zero = np.zeros_like(gap, dtype=np.int64)
        self.add(f"output {name}", 0, zero, gap.astype(np.int64))

    def add_float_output(self, name: str, reference: Array, found: Array) -> None:
        """Count the reals of an output that an operator in float made.

        Two float32 implementations agree but for the last bits: values within
        :data:`FLOAT_OUTPUT` of the sample's largest magnitude are equal.
        """
        largest = np.abs(reference.reshape(len(reference), -1)).max(axis=1, initial=0.0)
        unit = FLOAT_OUTPUT * np.maximum(largest.astype(np.float64), TINY)
        unit = unit.reshape(-1, *[1] * (reference.ndim - 1))
        gap = np.floor(np.abs(reference.astype(np.float64) - found) / unit)
        self.add(f"output {name}", 0, np.zeros_like(gap, dtype=np.int64), gap.astype(np.int64))

    def add_classes(
        self, reference: Array, found: Array, substituted: Callable[[], Array | None] | None = None
    ) -> None:
        """Count agreement of the best class over (N, classes) codes; other shapes have none.

        Args:
            substituted: codes of the reference fed what the run computed before its last layer;
                asked for where a class differs.
        """
        if reference.ndim != 2 or reference.shape[1] < 2:
            return
        best = np.sort(reference.astype(np.int64), axis=1)[:, -2:]
        decided = best[:, 1] - best[:, 0] >= DECIDED_LSB
        same = reference.argmax(1) == found.argmax(1)
        wrong = decided & ~same
        fed = substituted() if substituted is not None and wrong.any() else None
        explained = wrong & (fed.argmax(1) == found.argmax(1)) if fed is not None else wrong & False
        known = self.top1 or Top1(0, 0, 0)
        self.top1 = Top1(
            known.decided + int(decided.sum()),
            known.agree + int((same & decided).sum()),
            known.ties + int((~decided).sum()),
            known.explained + int(explained.sum()),
        )

    def result(self) -> Parity:
        """The counts, frozen."""
        rows = tuple(tally.row() for tally in self.tallies.values())
        return Parity(
            self.name, self.contract, self.judged, self.whole, rows, self.images, self.top1
        )
