"""Counts on a grid that is fixed before any data: the leading bits of a float32.

Every octave from ``2**-32`` to ``2**32`` has 512 equal bins on each side of 0.0. So one pass is
enough, a far outlier does not make the others' bins wide, and counting is a shift and a
``bincount``: 4 ns a value on one core, where ``torch.histc`` into 4096 equal bins takes 14 and a
pass before it that finds the ends. Counts are int64: the order of the data cannot matter.
"""

from __future__ import annotations

import torch
from torch import Tensor

MANTISSA_BITS = 9
LOWEST, HIGHEST = -32, 32
"""The grid covers ``2**LOWEST <= |x| < 2**HIGHEST``; what is below counts as 0.0."""

_DROPPED = 23 - MANTISSA_BITS
_FIRST = (127 + LOWEST) << MANTISSA_BITS
_LAST = (127 + HIGHEST) << MANTISSA_BITS
_NEGATIVE = 1 << (8 + MANTISSA_BITS)
BINS = _LAST - _FIRST
"""Bins on each side of 0.0."""

CHUNK = 1 << 22
"""Values that are counted at once: bounds the memory of the indices."""

FINE_OCTAVES, ALL_OCTAVES = 10, 20
"""Octaves below the largest value that keep all bins, and those that keep any (see ``span``)."""

COARSE = 16
"""Bins that join below the fine octaves."""


def magnitudes() -> Tensor:
    """(BINS + 1,) float64: the edges of the bins on the positive side."""
    bits = torch.arange(_FIRST, _LAST + 1, dtype=torch.int32) << _DROPPED
    return bits.view(torch.float32).double()


class Histogram:
    """Counts of one tensor.

    ``counts`` is (2, BINS) int64, negative values first, each side from 0.0 outwards; ``zeros`` is
    the number of values below the grid. Values beyond it are in the last bin.
    """

    def __init__(self) -> None:
        self.counts = torch.zeros(2, BINS, dtype=torch.int64)
        self.zeros = 0

    def add(self, x: Tensor) -> None:
        """Count the values of one batch, any shape; they are finite."""
        for part in torch.split(x.detach().float().reshape(-1), CHUNK):
            # sign and leading bits as an index: negative values come first
            index = (part.view(torch.int32) >> _DROPPED).add_(_NEGATIVE)
            sides = torch.bincount(index, minlength=2 * _NEGATIVE).cpu().reshape(2, -1)
            self.counts += sides[:, _FIRST:_LAST]
            self.counts[:, -1] += sides[:, _LAST:].sum(1)
            self.zeros += int(sides[:, :_FIRST].sum())

    @property
    def total(self) -> int:
        """How many values were counted."""
        return int(self.counts.sum()) + self.zeros

    def has_bins(self) -> bool:
        """False where every value counts as 0.0, and where one is beyond the grid."""
        return bool(self.counts.any()) and not bool(self.counts[:, -1].any())

    def isolated(self, ratio: float, share: float) -> int:
        """First bin (of either side) of a tail far from all other values; BINS where none is.

        Args:
            ratio: a tail begins this many times further from 0.0 than the last value before it.
            share: the most of all values that a tail may hold.
        """
        both = self.counts.sum(0)
        used = torch.nonzero(both).flatten()
        edges, beyond = magnitudes(), both.flip(0).cumsum(0).flip(0)
        starts = used[1:]
        far = edges[starts] >= ratio * edges[used[:-1] + 1]
        far &= beyond[starts] <= share * self.total
        return int(starts[far][0]) if bool(far.any()) else BINS

    def span(self, end: int = BINS) -> tuple[Tensor, Tensor]:
        """The used part of the grid, with fewer bins near 0.0, where no code distinguishes them.

        Args:
            end: bins from this one on are left out.

        Returns:
            edges (B + 1,) float64 ascending, counts (B,) int64; without the zeros.
        """
        used = torch.nonzero(self.counts[:, :end].sum(0)).flatten()
        last = int(used[-1]) + 1
        first = max(int(used[0]), last - (ALL_OCTAVES << MANTISSA_BITS), 0)
        middle = max(last - (FINE_OCTAVES << MANTISSA_BITS), first)
        index = torch.cat([torch.arange(first, middle, COARSE), torch.arange(middle, last + 1)])
        sums = torch.cat([torch.zeros(2, 1, dtype=torch.int64), self.counts.cumsum(1)], 1)
        below, above = (side[index].diff() for side in sums)
        edges = magnitudes()[index]
        near = torch.zeros(1, dtype=torch.int64)  # the bin around 0.0, whose values are zeros
        return torch.cat([-edges.flip(0), edges]), torch.cat([below.flip(0), near, above])
