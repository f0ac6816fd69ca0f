"""Random flip and crop of images that are arrays."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from deployq.trainer.tables import AugmentationTable

Images = npt.NDArray[Any]
PAIRED = {"nchw": (2, 3), "nhwc": (1, 2)}
"""Layout to the axes of height and width."""


@dataclass(frozen=True, eq=False)
class Draws:
    """What becomes of each of n images.

    Args:
        flips: (n,) whether it is mirrored.
        shifts: (n, 2) rows and columns cut off the top and the left after padding.
        padding: zeros on every side before that.
    """

    flips: npt.NDArray[np.bool_]
    shifts: npt.NDArray[np.int64]
    padding: int

    @classmethod
    def of(cls, table: AugmentationTable, generator: np.random.Generator, count: int) -> Draws:
        """Drawn for ``count`` images."""
        flips = generator.random(count) < (0.5 if table.flip else 0.0)
        shifts = generator.integers(0, 2 * table.crop_padding + 1, (count, 2))
        return cls(flips, shifts, table.crop_padding)

    def rows(self, rows: npt.NDArray[np.int64]) -> Draws:
        """Those of some images."""
        return Draws(self.flips[rows], self.shifts[rows], self.padding)


def augmented(images: Images, draws: Draws, layout: str) -> Images:
    """Mirrored and cut out, in the same shape.

    Args:
        images: (n, ...) in ``layout``.
        draws: of these n images.
        layout: ``nchw`` or ``nhwc``.
    """
    high, wide = PAIRED[layout]
    flipped = images.copy()
    flipped[draws.flips] = np.flip(images[draws.flips], wide)
    if not draws.padding:
        return flipped
    sides = [(draws.padding,) * 2 if axis in (high, wide) else (0, 0) for axis in range(4)]
    padded = np.pad(flipped, sides)
    for image, source, (top, left) in zip(flipped, padded, draws.shifts, strict=True):
        rows, columns = np.arange(images.shape[high]) + top, np.arange(images.shape[wide]) + left
        image[:] = source.take(rows, high - 1).take(columns, wide - 1)
    return flipped
