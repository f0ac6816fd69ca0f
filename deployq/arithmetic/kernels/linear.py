"""Integer sums of convolutions and matrix products; ``oracle.linear`` in torch."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from deployq.arithmetic.geometry import ConvGeometry
from deployq.arithmetic.kernels.int8 import BYTES, int8_convolution
from deployq.arithmetic.kernels.precision import Weights, exact_sums, weights
from deployq.arithmetic.oracle import linear as oracle
from deployq.arithmetic.rounding import Int64Array
from deployq.qparams import IntArray

ZeroPoint = int | IntArray | Tensor
Sums: TypeAlias = Callable[[Tensor, int], Tensor]
"""Codes and their zero point to sums with the bias: int64; or float32, exact and below 2**24."""


def conv_sums(
    w: Tensor, w_zero_point: ZeroPoint, bias: Tensor | None, geometry: ConvGeometry
) -> Sums:
    """A convolution whose weights are made ready once, for inputs that come in pieces.

    Float32 while the actual operands bound every sum by 2**24, two float32 convolutions of half
    the activation's bits each, float64 to 2**53, else the oracle.
    """
    zero_point, along = zero_point_along(w_zero_point, (-1, 1, 1, 1), w), (1, -1, 1, 1)
    ready = weights(channels_last(w), zero_point, 0, biases(bias, along))
    (top, left, bottom, right), groups = geometry.pads, geometry.groups
    symmetric = (top, left) == (bottom, right)
    padding = (top, left) if symmetric else (0, 0)
    centred = isinstance(zero_point, Tensor) or zero_point
    of_bytes = None if centred else int8_convolution(w, ready, geometry, padding)

    def convolve(cells: Tensor, kernel: Tensor, offset: Tensor | None) -> Tensor:
        flat = None if offset is None else offset.flatten()
        return F.conv2d(cells, kernel, flat, geometry.strides, padding, geometry.dilations, groups)

    def sums(x: Tensor, x_zero_point: int) -> Tensor:
        geometry.check_channels(x.shape[1], tuple(w.shape))
        geometry.output_size((x.shape[2], x.shape[3]), (w.shape[2], w.shape[3]))
        padded = x if symmetric else F.pad(x, (left, right, top, bottom), value=x_zero_point)
        cells = channels_last(padded)
        if of_bytes is not None and cells.dtype in BYTES:
            return of_bytes(cells, x_zero_point)
        acc = exact_sums(cells, x_zero_point, ready, convolve)
        if acc is not None:
            return acc
        codes = as_numpy(x), x_zero_point, as_numpy(w), to_numpy(w_zero_point)
        return from_oracle(x, oracle.conv_accumulate(*codes, None, geometry), ready)

    return sums


def conv_accumulate(
    x: Tensor,
    x_zero_point: int,
    w: Tensor,
    w_zero_point: ZeroPoint,
    bias: Tensor | None,
    geometry: ConvGeometry,
) -> Tensor:
    """Accumulators of a convolution; see ``oracle.linear.conv_accumulate``."""
    return conv_sums(w, w_zero_point, bias, geometry)(x, x_zero_point).long()


def gemm_sums(w: Tensor, w_zero_point: ZeroPoint, bias: Tensor | None) -> Sums:
    """A product with a constant, as :func:`conv_sums`."""
    ready = weights(w, zero_point_along(w_zero_point, (-1,), w), 1, biases(bias, (-1,)))

    def sums(x: Tensor, x_zero_point: int) -> Tensor:
        acc = exact_sums(x, x_zero_point, ready, _matmul)
        if acc is not None:
            return acc
        codes = as_numpy(x), x_zero_point, as_numpy(w), to_numpy(w_zero_point)
        return from_oracle(x, oracle.gemm_accumulate(*codes, None), ready)

    return sums


def gemm_accumulate(
    x: Tensor, x_zero_point: int, w: Tensor, w_zero_point: ZeroPoint, bias: Tensor | None
) -> Tensor:
    """Accumulators of a product with a constant; see ``oracle.linear.gemm_accumulate``."""
    return gemm_sums(w, w_zero_point, bias)(x, x_zero_point).long()


def matmul_sums(a: Tensor, a_zero_point: int, b: Tensor, b_zero_point: int) -> Tensor:
    """Sums of two activations, int64, or float32 where that is exact and all are below 2**24."""
    acc = exact_sums(a, a_zero_point, weights(b, b_zero_point, None, None), _matmul)
    if acc is not None:
        return acc
    sums = oracle.matmul_accumulate(as_numpy(a), a_zero_point, as_numpy(b), b_zero_point)
    return torch.from_numpy(sums).to(a.device)


def matmul_accumulate(a: Tensor, a_zero_point: int, b: Tensor, b_zero_point: int) -> Tensor:
    """Accumulators of two activations; see ``oracle.linear.matmul_accumulate``."""
    return matmul_sums(a, a_zero_point, b, b_zero_point).long()


def _matmul(value: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    product = torch.matmul(value, weight)
    return product if bias is None else product.add_(bias)


def from_oracle(x: Tensor, sums: Int64Array, ready: Weights) -> Tensor:
    """Sums that no float holds, from the oracle, with the bias."""
    there = torch.from_numpy(sums).to(x.device)
    return there if ready.bias is None else there + ready.bias


def biases(bias: Tensor | None, along: tuple[int, ...]) -> Tensor | None:
    """int64, broadcastable to the sums."""
    return None if bias is None else bias.long().reshape(along)


def channels_last(x: Tensor) -> Tensor:
    """The layout in which oneDNN convolves twice as fast; on other devices, as it is."""
    on_processor = x.device.type == "cpu"
    return x.contiguous(memory_format=torch.channels_last) if on_processor else x


def zero_point_along(zero_point: ZeroPoint, shape: tuple[int, ...], like: Tensor) -> int | Tensor:
    """A zero point that broadcasts to its weights, on their device."""
    if isinstance(zero_point, int):
        return zero_point
    return torch.tensor(zero_point.tolist(), device=like.device).reshape(shape)


def to_numpy(zero_point: ZeroPoint) -> int | IntArray:
    """A zero point as the oracle takes it."""
    return as_numpy(zero_point) if isinstance(zero_point, Tensor) else zero_point


def as_numpy(tensor: Tensor) -> IntArray:
    """Codes as the oracle takes them."""
    return np.asarray(tensor.detach().cpu())
