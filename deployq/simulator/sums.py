"""The finished sums of weighted operators, before any accumulator width or requantization."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from deployq.arithmetic.kernels.codes import torch_dtype
from deployq.arithmetic.kernels.conv_transpose import CONVOLUTION_SUMS
from deployq.arithmetic.kernels.linear import Sums, gemm_sums, matmul_accumulate
from deployq.qgraph.nodes import Linear
from deployq.qparams import IntArray, QParams
from deployq.simulator.node_caches import kept_with

_READY: dict[int, dict[bool, Sums]] = {}
"""With and without bias; see ``node_caches``."""


def accumulate(node: Linear, x: Tensor, qx: QParams) -> tuple[Tensor, int]:
    """The exact sums of a layer and the axis of their channels.

    They hold the bias, but one on a scale of its own.

    Args:
        node: the layer.
        x: codes that it reads, (N, C, ...) or (..., K).
        qx: their parameters.

    Returns:
        int64 sums, (N, O, ...) or (..., N), and the axis: 1, or the last.
    """
    return layer_sums(node, qx, biased=node.bias_step is None)(x).long(), channel_axis(node)


def layer_sums(node: Linear, qx: QParams, *, biased: bool = True) -> Callable[[Tensor], Tensor]:
    """As :func:`accumulate` for input in pieces; the weights are made ready once a node.

    The sums are int64, or float32 where that is exact and all are below 2**24.

    Args:
        biased: the sums hold the bias.
    """
    ready = kept_with(node, _READY)
    if biased not in ready:
        ready[biased] = _sums(node, node.bias if biased else None)
    sums, x_zero_point = ready[biased], int(qx.zero_point)
    return lambda x: sums(x, x_zero_point)


def _sums(node: Linear, codes: IntArray | None) -> Sums:
    qw = node.weight_qparams
    weight = torch.tensor(node.weight, dtype=torch_dtype(qw.qtype))
    zero_point: Any = torch.tensor(qw.zero_point)
    if qw.zero_point.ndim == 0 or not qw.zero_point.any():
        zero_point = int(qw.zero_point.flat[0])
    bias = None if codes is None else torch.tensor(codes)
    if node.op_type in CONVOLUTION_SUMS:
        return CONVOLUTION_SUMS[node.op_type](weight, zero_point, bias, node.geometry)
    return gemm_sums(weight, zero_point, bias)


def accumulate_product(a: Tensor, qa: QParams, b: Tensor, qb: QParams) -> Tensor:
    """The exact sums of a product of two code tensors, int64, (..., M, N).

    Args:
        a, b: codes, (..., M, K) and (..., K, N).
        qa, qb: their parameters.
    """
    return matmul_accumulate(a, int(qa.zero_point), b, int(qb.zero_point))


def channel_axis(node: Linear) -> int:
    """Of the output channels in the sums of a layer: 1, or the last."""
    return 1 if node.op_type in CONVOLUTION_SUMS else -1
