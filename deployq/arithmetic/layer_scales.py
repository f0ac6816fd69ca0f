"""The scales around the sums of a layer, and what each kind of requantization makes of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from deployq.arithmetic.codes import scale_and_zero
from deployq.arithmetic.contract import Form
from deployq.arithmetic.rounding import Float64Array, Int64Array
from deployq.arithmetic.scales import layer_multiplier
from deployq.arithmetic.thresholds import layer_thresholds
from deployq.qparams import FloatArray, QParams


@dataclass(frozen=True, eq=False)
class LayerScales:
    """What lies between the sums of Conv, Gemm or MatMul and their codes.

    Args:
        x: float32 scale of the activation, rank 0.
        w: float32 scale of the weight, one or (C,).
        out: parameters of the output, per tensor.
        rank, axis: of the sums, of their channels.
    """

    x: FloatArray | np.float32
    w: FloatArray | np.float32
    out: QParams
    rank: int
    axis: int

    def real(self, form: Form) -> Float64Array:
        """``s_x * s_w / s_y`` in the form's precision, broadcastable to the sums."""
        return layer_multiplier(self.rank, self.axis, self.x, self.w, self.out, form)

    def thresholds(self, form: Form) -> Int64Array:
        """Of each channel, or of all; see ``thresholds.layer_thresholds``."""
        return layer_thresholds(self.x, self.w, self.out, form.rounding)

    @property
    def lowest(self) -> int:
        """The lowest code of the output, less its zero point."""
        return self.out.qtype.qmin - scale_and_zero(self.out, "output")[1]
