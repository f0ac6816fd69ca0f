"""The finished sums of weighted operators, before any accumulator width or requantization."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from deployq.arithmetic.kernels import linear
from deployq.arithmetic.kernels.conv_transpose import CONVOLUTIONS
from deployq.qgraph.nodes import Linear
from deployq.qparams import QParams


def accumulate(node: Linear, x: Tensor, qx: QParams) -> tuple[Tensor, int]:
    """The exact sums of a layer, with its bias, and the axis of their channels.

    Args:
        node: the layer.
        x: codes that it reads, (N, C, ...) or (..., K).
        qx: their parameters.

    Returns:
        int64 sums, (N, O, ...) or (..., N), and the axis: 1, or the last.
    """
    weight, qw = torch.tensor(node.weight), node.weight_qparams
    zero_point: Any = int(qw.zero_point) if qw.zero_point.ndim == 0 else torch.tensor(qw.zero_point)
    bias = None if node.bias is None else torch.tensor(node.bias)
    if node.op_type in CONVOLUTIONS:
        sums = CONVOLUTIONS[node.op_type]
        return sums(x, int(qx.zero_point), weight, zero_point, bias, node.geometry), 1
    return linear.gemm_accumulate(x, int(qx.zero_point), weight, zero_point, bias), x.ndim - 1


def accumulate_product(a: Tensor, qa: QParams, b: Tensor, qb: QParams) -> Tensor:
    """The exact sums of a product of two code tensors, int64, (..., M, N).

    Args:
        a, b: codes, (..., M, K) and (..., K, N).
        qa, qb: their parameters.
    """
    return linear.matmul_accumulate(a, int(qa.zero_point), b, int(qb.zero_point))
