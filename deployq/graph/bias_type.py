"""What integers a target takes as the bias of a layer."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from deployq.qparams import FloatArray, IntArray
from deployq_targets.tensors import BIAS_FILE_BITS, Bias
from deployq_targets.words import BiasForm, BiasScaleRule

ACCUMULATOR_BITS = 32
"""A shifted code, as a whole number of steps, has at most this width."""

SWAMPING = 1 << 29
"""Steps: above what the products of a few thousand 8-bit codes sum up to."""

GRANTED_BITS = 2

REAL_BITS = 24
"""A float32 that is code times scale gives back any code of this width, and no wider one."""


@dataclass(frozen=True)
class BiasType:
    """Codes that stand for ``code * 2**shift`` steps of ``s_x * s_w``.

    Args:
        bits: signed width of a code.
        shift, shift_max: every layer takes the least shift between them that holds its bias.
        by_channel: every channel with a scale of its own takes one of its own.
        real: the file holds the real value that the code stands for, as float32.
    """

    bits: int = ACCUMULATOR_BITS
    shift: int = 0
    shift_max: int = 0
    real: bool = False
    by_channel: bool = False

    @classmethod
    def of(cls, section: Bias) -> BiasType:
        """The type that a profile states; its words are among those that preparation obeys."""
        if section.form is BiasForm.FLOAT:
            return cls(REAL_BITS, real=True)
        if section.scale_rule is BiasScaleRule.ACT_TIMES_WEIGHT_POW2:
            shift = section.scale_rule_exp or 0
            return cls(section.bits, shift, shift)
        if section.scale_rule is BiasScaleRule.ACT_TIMES_WEIGHT_SHIFTED:
            return cls(section.bits, 0, ACCUMULATOR_BITS - section.bits)
        stored = min(section.bits, BIAS_FILE_BITS)
        return cls(stored, 0, section.bits - stored, by_channel=section.bits > stored)

    @property
    def most(self) -> int:
        """Highest code, and the lowest one's negative."""
        return int(2 ** (self.bits - 1) - 1)

    @property
    def limit(self) -> int:
        """The largest bias, in steps of ``s_x * s_w``."""
        return self.most << self.shift_max

    def bearable(self, steps: FloatArray) -> int:
        """The largest bias that spoils no other: one shift serves all channels of a layer.

        Args:
            steps: the biases of all channels over ``s_x * s_w``, at the scales that were wished
                for. Two bits above what the median of them needs are granted.
        """
        needed = np.median(np.abs(steps)) / self.most
        shift = int(np.ceil(np.log2(max(needed, 1.0)))) + GRANTED_BITS
        return min(self.most << max(shift, self.shift), self.limit)

    @property
    def swamps_weights(self) -> bool:
        """A bias beyond the limit leaves nothing of what the weights add to it."""
        return self.limit >= SWAMPING

    def round(self, steps: FloatArray) -> tuple[IntArray, int]:
        """The nearest biases that the target has, saturated.

        Args:
            steps: real biases over ``s_x * s_w``, float64.

        Returns:
            Whole steps, int64, multiples of ``2**shift``; and the shift.
        """
        shift = self.shift
        while shift < self.shift_max and np.abs(np.rint(steps / 2.0**shift)).max() > self.most:
            shift += 1
        codes = np.clip(np.rint(steps / 2.0**shift), -self.most, self.most).astype(np.int64)
        return codes << shift, shift

    def round_each(self, steps: FloatArray) -> tuple[IntArray, IntArray]:
        """As :meth:`round`, each of (C,) biases with a shift of its own."""
        rounded = [self.round(np.asarray(step)) for step in steps]
        codes, shifts = zip(*rounded, strict=True)
        return np.array(codes, np.int64), np.array(shifts, np.int64)

    def config(self) -> dict[str, Any]:
        return asdict(self)
