"""Integer sums of convolutions and matrix products; ``oracle.linear`` in torch."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from deployq.arithmetic.fan_in import absolute_sums
from deployq.arithmetic.geometry import ConvGeometry
from deployq.arithmetic.kernels.precision import centre, exact_product
from deployq.arithmetic.oracle import linear as oracle
from deployq.qparams import IntArray

ZeroPoint = int | IntArray | Tensor


def conv_accumulate(
    x: Tensor,
    x_zero_point: int,
    w: Tensor,
    w_zero_point: ZeroPoint,
    bias: Tensor | None,
    geometry: ConvGeometry,
) -> Tensor:
    """Accumulators of a convolution; see ``oracle.linear.conv_accumulate``.

    Float32 while the actual operands bound every sum by 2**24, two float32 convolutions of half
    the activation's bits each, float64 to 2**53, else the oracle.
    """
    geometry.check_channels(x.shape[1], tuple(w.shape))
    geometry.output_size((x.shape[2], x.shape[3]), (w.shape[2], w.shape[3]))
    top, left, bottom, right = geometry.pads
    value, symmetric = centre(x, x_zero_point), (top, left) == (bottom, right)
    if not symmetric:
        value = F.pad(value, (left, right, top, bottom))
    padding = (top, left) if symmetric else (0, 0)
    weight = centre(w, zero_point_along(w_zero_point, (-1, 1, 1, 1)))

    def convolve(cells: Tensor, kernel: Tensor) -> Tensor:
        strides, dilations = geometry.strides, geometry.dilations
        return F.conv2d(cells, kernel, None, strides, padding, dilations, geometry.groups)

    acc = exact_product(value, weight, absolute_sums(weight, 0), convolve)
    if acc is None:
        codes = as_numpy(x), x_zero_point, as_numpy(w), _to_numpy(w_zero_point)
        acc = torch.from_numpy(oracle.conv_accumulate(*codes, None, geometry)).to(x.device)
    return acc if bias is None else acc + bias.long().reshape(1, -1, 1, 1)


def gemm_accumulate(
    x: Tensor, x_zero_point: int, w: Tensor, w_zero_point: ZeroPoint, bias: Tensor | None
) -> Tensor:
    """Accumulators of a product with a constant; see ``oracle.linear.gemm_accumulate``."""
    weight = centre(w, zero_point_along(w_zero_point, (-1,)))
    acc = exact_product(centre(x, x_zero_point), weight, absolute_sums(weight, 1), torch.matmul)
    if acc is None:
        codes = as_numpy(x), x_zero_point, as_numpy(w), _to_numpy(w_zero_point)
        acc = torch.from_numpy(oracle.gemm_accumulate(*codes, None)).to(x.device)
    return acc if bias is None else acc + bias.long()


def matmul_accumulate(a: Tensor, a_zero_point: int, b: Tensor, b_zero_point: int) -> Tensor:
    """Accumulators of two activations; see ``oracle.linear.matmul_accumulate``."""
    right = centre(b, b_zero_point)
    acc = exact_product(centre(a, a_zero_point), right, right.abs().sum(-2), torch.matmul)
    if acc is None:
        sums = oracle.matmul_accumulate(as_numpy(a), a_zero_point, as_numpy(b), b_zero_point)
        acc = torch.from_numpy(sums).to(a.device)
    return acc


def zero_point_along(zero_point: ZeroPoint, shape: tuple[int, ...]) -> int | Tensor:
    if isinstance(zero_point, int):
        return zero_point
    return torch.tensor(zero_point.tolist()).reshape(shape)


def _to_numpy(zero_point: ZeroPoint) -> int | IntArray:
    return as_numpy(zero_point) if isinstance(zero_point, Tensor) else zero_point


def as_numpy(tensor: Tensor) -> IntArray:
    return np.asarray(tensor.detach().cpu())
