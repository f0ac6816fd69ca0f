"""BatchNorm in integers (law 2): a trained code is never re-quantized.

Names: gamma, beta are weight and bias of the BatchNorm, mu, sigma the running mean and
``sqrt(variance + eps)``; a convolution with weight ``w`` and bias ``b`` before it computes
``gamma (conv(x, w) + b - mu) / sigma + beta``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from deployq.qparams import FloatArray, IntArray

BIAS_HEADROOM = 2
"""Bits that a rescued bias leaves free below the bias type's top."""


class BatchNormTensors(NamedTuple):
    """The tensors of one BatchNorm, each (C,)."""

    gamma: Tensor | None
    beta: Tensor | None
    mean: Tensor
    variance: Tensor

    def double(self) -> BatchNormTensors:
        """The same in float64."""
        return BatchNormTensors(*(None if t is None else t.double() for t in self))  # type: ignore[arg-type] # mean and variance are never None

    def factor(self, eps: float) -> Tensor:
        """``gamma / sigma``, (C,)."""
        scale = torch.rsqrt(self.variance + eps)
        return scale if self.gamma is None else self.gamma * scale

    def folded_bias(self, bias: Tensor | None, eps: float) -> Tensor:
        """``gamma (b - mu) / sigma + beta``, (C,)."""
        folded = ((0.0 if bias is None else bias) - self.mean) * self.factor(eps)
        return folded if self.beta is None else folded + self.beta


def move_sign_into_weight(
    weight: Tensor, bias: Tensor | None, gamma: Tensor, mean: Tensor
) -> None:
    """Make gamma non-negative in place: ``(w, b, gamma, mu)`` times the sign of gamma, exact.

    Args:
        weight: (C, ...) weight of the layer before the BatchNorm.
        bias: (C,) its bias, if any.
        gamma, mean: (C,) of the BatchNorm.
    """
    sign = torch.where(gamma < 0, -1.0, 1.0)
    with torch.no_grad():
        weight.mul_(sign.reshape(-1, *[1] * (weight.ndim - 1)))
        gamma.mul_(sign)
        mean.mul_(sign)
        if bias is not None:
            bias.mul_(sign)


@dataclass(frozen=True)
class LinearCodes:
    """The integers of one linear layer, as they stand in the file.

    Args:
        codes: weight codes, the shape of the weight.
        scale: float32 weight scale after absorption, rank 0 or (C,).
        bias: (C,) int64 bias codes.
        bias_scale: float32 ``s_x * s_w``, the shape of ``scale``.
        rescued: channels whose weight codes became zero (law 2's exception).
    """

    codes: IntArray
    scale: FloatArray
    bias: IntArray
    bias_scale: FloatArray
    rescued: tuple[int, ...]


def absorb(
    codes: IntArray,
    scale: FloatArray,
    factor: FloatArray,
    bias: FloatArray,
    input_scale: np.float32,
    bias_bits: int,
) -> LinearCodes:
    """Take a BatchNorm's factor into the weight scale and round the bias; codes are unchanged.

    A channel whose scale vanishes, or whose bias leaves the bias type, gets zero codes and a scale
    that represents its bias; where all channels share the scale, its bias saturates.

    Args:
        codes: (C, ...) weight codes.
        scale: float32 weight scale, rank 0 or (C,).
        factor: float64 gamma / sigma, rank 0 (one) or (C,); rank 0 when there is none.
        bias: float64 (C,) real bias after the BatchNorm.
        input_scale: float32 scale of the layer's input.
        bias_bits: signed width of the bias codes.
    """
    absorbed = (scale.astype(np.float64) * factor).astype(np.float32)
    limit = 2 ** (bias_bits - 1) - 1
    lost = _lost_channels(absorbed, bias, input_scale, limit)
    if lost.any() and absorbed.ndim:
        # a scale that puts the bias at a quarter of its type, or the unabsorbed one if larger
        rescue = np.abs(bias) / (float(input_scale) * (limit >> BIAS_HEADROOM))
        absorbed = np.where(lost, np.maximum(rescue, scale), absorbed).astype(np.float32)
    if lost.any():
        codes = np.where(lost.reshape(-1, *[1] * (codes.ndim - 1)), 0, codes)
    bias_scale = (np.float32(input_scale) * absorbed).astype(np.float32)
    steps = np.rint(bias / bias_scale.astype(np.float64))
    bias_codes = np.clip(steps, -limit, limit).astype(np.int64)
    channels = tuple(int(c) for c in np.flatnonzero(lost))
    return LinearCodes(codes, absorbed, bias_codes, bias_scale, channels)


def _lost_channels(
    absorbed: FloatArray, bias: FloatArray, input_scale: np.float32, limit: int
) -> npt.NDArray[np.bool_]:
    """Channels whose absorbed scale vanishes or whose bias leaves its type."""
    scale = np.broadcast_to(absorbed, bias.shape)
    product = (np.float32(input_scale) * scale).astype(np.float64)
    vanished = product < np.finfo(np.float32).tiny
    steps = np.abs(bias) / np.where(vanished, 1.0, product)
    result: npt.NDArray[np.bool_] = vanished | (steps >= limit)
    return result
