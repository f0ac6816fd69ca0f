"""BatchNorm in integers (law 2): a trained code is never re-quantized.

Names: gamma, beta are weight and bias of the BatchNorm, mu, sigma the running mean and
``sqrt(variance + eps)``; a convolution with weight ``w`` and bias ``b`` before it computes
``gamma (conv(x, w) + b - mu) / sigma + beta``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from deployq.arithmetic.rounding import Float64Array
from deployq.graph.bias_type import BiasType
from deployq.qparams import FloatArray, IntArray

BIAS_HEADROOM = 2
"""Bits that a rescued bias leaves free below the bias type's top."""

SMALLEST_NORMAL = float(np.finfo(np.float32).tiny)
SMALLEST_BIAS_SCALE = 2.0**-125
"""Twice the smallest normal float32: a product of two float32 scales rounds to it safely."""


class BatchNormTensors(NamedTuple):
    """The tensors of one BatchNorm, each (C,)."""

    gamma: Tensor | None
    beta: Tensor | None
    mean: Tensor
    variance: Tensor

    @classmethod
    def of(cls, *tensors: Tensor | None) -> BatchNormTensors | None:
        """From gamma, beta, mean and variance, in this order; None from nothing."""
        if not tensors:
            return None
        gamma, beta, mean, variance = tensors
        assert mean is not None and variance is not None
        return cls(gamma, beta, mean, variance)

    def double(self) -> BatchNormTensors:
        """The same in float64."""
        gamma = None if self.gamma is None else self.gamma.double()
        beta = None if self.beta is None else self.beta.double()
        return BatchNormTensors(gamma, beta, self.mean.double(), self.variance.double())

    def factor(self, eps: float) -> Tensor:
        """``gamma / sigma``, (C,)."""
        scale = torch.rsqrt(self.variance + eps)
        return scale if self.gamma is None else self.gamma * scale

    def folded_bias(self, bias: Tensor | None, eps: float) -> Tensor:
        """``gamma (b - mu) / sigma + beta``, (C,)."""
        folded = ((0.0 if bias is None else bias) - self.mean) * self.factor(eps)
        return folded if self.beta is None else folded + self.beta


def along_first_axis(values: Tensor, weight: Tensor) -> Tensor:
    """(C,) values in a shape that broadcasts to a weight whose axis 0 is the output channels."""
    return values.reshape(-1, *[1] * (weight.ndim - 1))


def move_sign_into_weight(
    weight: Tensor,
    bias: Tensor | None,
    gamma: Tensor,
    mean: Tensor,
    along_outputs: Callable[[Tensor, Tensor], Tensor] = along_first_axis,
) -> None:
    """Make gamma non-negative in place: ``(w, b, gamma, mu)`` times the sign of gamma, exact.

    Args:
        weight: of the layer before the BatchNorm.
        bias: (C,) its bias, if any.
        gamma, mean: (C,) of the BatchNorm.
        along_outputs: lays (C,) values along the output channels of the weight.
    """
    sign = torch.where(gamma < 0, -1.0, 1.0)
    with torch.no_grad():
        weight.mul_(along_outputs(sign, weight))
        gamma.mul_(sign)
        mean.mul_(sign)
        if bias is not None:
            bias.mul_(sign)


@dataclass(frozen=True)
class LinearCodes:
    """The integers of one linear layer, as they stand in the file.

    Args:
        codes: (C, ...) weight codes, output channels first whatever the operator.
        scale: float32 weight scale after absorption, rank 0 or (C,).
        bias: (C,) int64, in steps of ``bias_scale``, multiples of ``2**bias_shift``.
        bias_scale: float32 ``s_x * s_w``, the shape of ``scale``.
        bias_shift: the file holds ``bias >> bias_shift``; one, or (C,).
        rescued: channels whose weight codes became zero (law 2's exception).
        late: the codes that the file holds where the target adds the bias after the scale; ``bias``
            is then what comes nearest to them in steps of the sums.
    """

    codes: IntArray
    scale: FloatArray
    bias: IntArray
    bias_scale: FloatArray
    bias_shift: int | IntArray
    rescued: tuple[int, ...]
    late: LateBias | None = None


@dataclass(frozen=True)
class LateBias:
    """Bias codes on the scale that a target adds them on.

    Args:
        codes: (C,) int64.
        scale: float32 ``s_y * 2**-shift``, rank 0 or (C,).
    """

    codes: IntArray
    scale: FloatArray

    @property
    def reals(self) -> Float64Array:
        """(C,) float64."""
        return self.codes.astype(np.float64) * self.scale.astype(np.float64)


def absorb(
    codes: IntArray,
    scale: FloatArray,
    factor: FloatArray,
    bias: FloatArray,
    input_scale: np.float32,
    bias_type: BiasType,
) -> LinearCodes:
    """Take a BatchNorm's factor into the weight scale and round the bias; codes are unchanged.

    A channel whose scale vanishes, or whose bias leaves the bias type, gets zero codes and a scale
    that represents its bias; where all channels share the scale, its bias saturates. No bias scale
    is below the smallest normal float32.

    Args:
        codes: (C, ...) weight codes.
        scale: float32 weight scale, rank 0 or (C,).
        factor: float64 gamma / sigma, rank 0 (one) or (C,); rank 0 when there is none.
        bias: float64 (C,) real bias after the BatchNorm.
        input_scale: float32 scale of the layer's input.
        bias_type: what the target takes.
    """
    with np.errstate(over="ignore"):  # infinity is the caller's to refuse
        absorbed = (scale.astype(np.float64) * factor).astype(np.float32)
    limit = bias_type.limit
    vanished = _vanished(absorbed, bias, input_scale)
    lost = vanished | _overflows(absorbed, bias, input_scale, limit)
    if lost.any():
        # with one scale, a bias somewhat beyond a narrow type saturates and the weights stay
        zeroed = lost if absorbed.ndim or bias_type.swamps_weights else vanished
        codes = np.where(zeroed.reshape(-1, *[1] * (codes.ndim - 1)), 0, codes)
        least = np.maximum(scale, SMALLEST_BIAS_SCALE / np.float64(input_scale))
        if absorbed.ndim:  # the bias at a quarter of its type, or at the unabsorbed scale if finer
            rescue = np.abs(bias) / (np.float64(input_scale) * (limit >> BIAS_HEADROOM))
            rescue = np.maximum(rescue, least)
            if (np.frexp(scale)[0] == 0.5).all():  # scales are powers of two, and stay such
                rescue = np.exp2(np.ceil(np.log2(rescue)))
            absorbed = np.where(lost, rescue, absorbed).astype(np.float32)
        else:
            absorbed = np.asarray(least, np.float32)
    bias_scale = np.asarray(np.float32(input_scale) * absorbed, np.float32)
    steps = bias / bias_scale.astype(np.float64)
    each = bias_type.by_channel and bias_scale.ndim
    bias_codes, shift = bias_type.round_each(steps) if each else bias_type.round(steps)
    channels = tuple(int(c) for c in np.flatnonzero(lost))
    return LinearCodes(codes, absorbed, bias_codes, bias_scale, shift, channels)


def _vanished(
    absorbed: FloatArray, bias: FloatArray, input_scale: np.float32
) -> npt.NDArray[np.bool_]:
    """(C,) channels whose bias scale is no normal float32."""
    result: npt.NDArray[np.bool_] = _product(absorbed, bias, input_scale) < SMALLEST_NORMAL
    return result


def _overflows(
    absorbed: FloatArray, bias: FloatArray, input_scale: np.float32, limit: int
) -> npt.NDArray[np.bool_]:
    """(C,) channels whose bias leaves its type."""
    product = _product(absorbed, bias, input_scale)
    steps = np.abs(bias) / np.where(product < SMALLEST_NORMAL, 1.0, product)
    result: npt.NDArray[np.bool_] = steps >= limit
    return result


def _product(absorbed: FloatArray, bias: FloatArray, input_scale: np.float32) -> FloatArray:
    """(C,) float32 ``s_x s_w``, as float64."""
    scale = np.broadcast_to(absorbed, bias.shape)
    return (np.float32(input_scale) * scale).astype(np.float64)
