"""The last step of a layer whose codes are counted by thresholds."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from deployq.arithmetic.codes import Bounds
from deployq.arithmetic.contract import Accumulator, Rounding
from deployq.arithmetic.rounding import BoolArray, Int64Array
from deployq.arithmetic.thresholds import NEVER, layer_thresholds, least_sums
from deployq.qparams import FloatArray, IntArray, QParams


@dataclass(frozen=True, eq=False)
class Counted:
    """``code = lowest + count(thresholds of the channel <= sum)``.

    Args:
        thresholds: (1 or C, ``2**bits - 1``) int64, rising. Those of codes that a fused Relu or
            Clip leaves out are the ends of 64 bits: every sum reaches them, or none.
        cuts: (1 or C, 2): the least sum that becomes the lowest code that is left by itself, and
            the least that would become more than the highest.
        lowest: code of the type.
    """

    thresholds: Int64Array
    cuts: Int64Array
    lowest: int

    @classmethod
    def of(
        cls,
        x_scale: np.float32,
        w_scale: FloatArray | np.float32,
        out: QParams,
        clip: Bounds,
        rounding: Rounding,
    ) -> Counted:
        """The thresholds of a layer.

        Args:
            clip: lowest and highest code that the layer gives.

        Raises:
            UnsupportedError: codes of more than 8 bits.
        """
        codes = np.arange(out.qtype.qmin + 1, out.qtype.qmax + 1)
        reached = layer_thresholds(x_scale, w_scale, out, rounding)
        left = np.where(codes > clip[1], NEVER, np.where(codes <= clip[0], ~NEVER, reached))
        ends = least_sums(x_scale, w_scale, out, (clip[0], clip[1] + 1), rounding)
        return cls(left, ends[:, [0, -1]], out.qtype.qmin)

    def held(self, accumulator: Accumulator) -> Int64Array:
        """The thresholds, none further than one beyond the highest sum: that one is not reached."""
        return np.clip(self.thresholds, accumulator.low, min(accumulator.high, NEVER - 1) + 1)

    def row(self, channel: int) -> Int64Array:
        """Thresholds of one channel that some sums reach and others do not, rising, each once."""
        found = self.thresholds[channel if len(self.thresholds) > 1 else 0]
        return np.unique(found[(found != NEVER) & (found != ~NEVER)])

    def first(self, sums: Int64Array, channel: Int64Array | int) -> BoolArray:
        """True where a sum is a threshold of its channel.

        Args:
            channel: of each sum, broadcastable; of one row it is ignored.
        """
        rows = self._of(self.thresholds, channel)
        found = np.zeros(sums.shape, np.bool_)
        for threshold in np.moveaxis(rows, -1, 0):
            found |= sums == threshold
        return found

    def cut(self, sums: Int64Array, channel: Int64Array | int) -> tuple[BoolArray, BoolArray]:
        """True where saturation, or a Relu or Clip, lowers a code; and where it raises one."""
        low, high = np.moveaxis(self._of(self.cuts, channel), -1, 0)
        return sums >= high, sums < low

    @staticmethod
    def _of(table: Int64Array, channel: Int64Array | int) -> Int64Array:
        return table[np.asarray(channel) if len(table) > 1 else np.zeros((), np.int64)]


def number_bits(values: IntArray) -> int:
    """Of a stored number: 32, or 64 where one needs more."""
    low, high = int(values.min(initial=0)), int(values.max(initial=0))
    return 32 if low >= -(1 << 31) and high < 1 << 31 else 64
