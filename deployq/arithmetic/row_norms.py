"""LayerNormalization and RMSNormalization in integers: a layer's constants and their bounds.

With codes x of C elements a row, R the distance of the lowest code from the highest, z_x and s_x
their zero point and scale::

    d_i = C x_i - sum(x)              LayerNormalization: |d| <= C R, sum(d**2) <= C**3 R**2 / 4
    d_i = x_i - z_x                   RMSNormalization: |d| <= R, sum(d**2) <= C R**2
    U   = sum(d**2) 4**F + E          E = round(4**F c eps / s_x**2) or 1, c = C**3 or C
    r   = floor(sqrt(U))              F the largest that keeps U below 2**62, so r < 2**31
    n_i = d_i 2**F / r                see ``row_shares``; within +-1, steps of 2**-20
    y_i = n_i sqrt(C) gamma_i + beta_i

U is never 0, and ``|d| 2**F <= sqrt(U) < r + 1``: nothing but U leaves 53 bits. Beside its sums a
row costs one root and one division, an element two products.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from deployq.arithmetic.codes import scale_and_zero
from deployq.arithmetic.rounding import Float64Array, Int64Array
from deployq.arithmetic.row_shares import DIVISOR_BITS, SHARE_STEP
from deployq.errors import QuantizationError, UnsupportedError
from deployq.qparams import FloatArray, QParams

VANISHING = 2.0**-10
"""A channel whose normalized values stay below this part of an LSB has its bias alone."""


@dataclass(frozen=True, eq=False)
class RowNorm:
    """A normalization over the last axis, with ONNX's names.

    Args:
        op_type: LayerNormalization (17) or RMSNormalization (23).
        scale: gamma, float32 (C,).
        bias: beta, float32 (C,); none for RMSNormalization.
        epsilon: added to the variance, or to the mean of squares.
    """

    op_type: str
    scale: FloatArray
    bias: FloatArray | None = None
    epsilon: float = 1e-5

    @property
    def centred(self) -> bool:
        """Whether the mean is taken off."""
        return self.op_type == "LayerNormalization"


@dataclass(frozen=True, eq=False)
class RowIntegers:
    """What is known before any code is.

    Args:
        epsilon: E.
        lift: F.
        signs: of gamma, int64 (C,); 0 where the channel vanishes.
        step: float32, the real that a share of 1 step is.
        scales: float32 (C,), positive: what the shares are multiplied by, beside ``step``.
        bias: float64 (C,) reals that are added after the multiplication, if any.
    """

    epsilon: int
    lift: int
    signs: Int64Array
    step: np.float32
    scales: FloatArray
    bias: Float64Array | None


def row_integers(norm: RowNorm, qx: QParams, out: QParams) -> RowIntegers:
    """The constants of a layer.

    Raises:
        UnsupportedError: rows so long, codes so wide or an epsilon so large that 62 bits do not
            hold the sum of squares.
        QuantizationError: a negative epsilon, numbers that are not finite, or parameters that are
            not per tensor.
    """
    _check(norm)
    length, epsilon = norm.scale.size, epsilon_steps(norm, qx)
    most = _most(norm, qx) + math.ceil(epsilon) + 1
    lift = (2 * DIVISOR_BITS - most.bit_length()) // 2
    if lift < 0:
        raise UnsupportedError(
            norm.op_type,
            "62 bits hold the sum of squares of a row",
            found=f"{most.bit_length()} bits: {length} elements of {qx.qtype}, epsilon "
            f"{norm.epsilon} on the scale {float(qx.scale)}",
            allowed=f"{2 * DIVISOR_BITS} bits",
            next_step="quantize the input of this operator to fewer bits",
        )
    root, y_scale = np.sqrt(float(length)), float(scale_and_zero(out, norm.op_type)[0])
    gains = np.abs(norm.scale.astype(np.float64))
    kept = gains * root / y_scale >= VANISHING
    scales = np.where(kept, gains, VANISHING * y_scale / root).astype(np.float32)
    signs = np.where(kept, np.sign(norm.scale), 0).astype(np.int64)
    bias = None if norm.bias is None else norm.bias.astype(np.float64)
    return RowIntegers(
        max(1, round(math.ldexp(epsilon, 2 * lift))),
        lift,
        signs,
        np.float32(root * SHARE_STEP),
        scales,
        bias,
    )


def epsilon_steps(norm: RowNorm, qx: QParams) -> float:
    """``c eps / s_x**2``: epsilon in the units of the sum of squares."""
    scale = float(scale_and_zero(qx, norm.op_type)[0])
    return _weight(norm) * (float(np.float32(norm.epsilon)) / scale**2)


def _weight(norm: RowNorm) -> int:
    """c: what the sum of squares is of a variance, or of a mean of squares."""
    length = norm.scale.size
    return length**3 if norm.centred else length


def _most(norm: RowNorm, qx: QParams) -> int:
    """The largest sum of squares: half of the codes at each end, or all at the farther one."""
    low, high, zero = qx.qtype.qmin, qx.qtype.qmax, scale_and_zero(qx, norm.op_type)[1]
    if norm.centred:
        return _weight(norm) * (high - low) ** 2 // 4
    return _weight(norm) * max(high - zero, zero - low) ** 2


def _check(norm: RowNorm) -> None:
    numbers = (norm.scale, *(() if norm.bias is None else (norm.bias,)))
    finite = all(np.isfinite(values).all() for values in numbers)
    if not (finite and np.isfinite(norm.epsilon) and norm.epsilon >= 0):
        raise QuantizationError(
            norm.op_type,
            "scale and bias are finite and epsilon is not negative",
            found=f"epsilon {norm.epsilon}" if finite else "NaN or infinity",
            allowed="finite numbers",
            next_step="train or load the model again",
        )
