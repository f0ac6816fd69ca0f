"""Matrix products: Linear (see ``linear_layers``), Gemm and MatMul of activations."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from deployq.graph.onnx_import.arguments import expect
from deployq.graph.onnx_import.batch import own_axis
from deployq.graph.onnx_import.node import OnnxNode
from deployq.graph.onnx_import.operators.operator import Operator


def linear(node: OnnxNode, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    own_axis(node, x, -1)
    return F.linear(x, weight, bias)


def gemm(node: OnnxNode, a: Tensor, b: Tensor, c: Tensor | None = None) -> Tensor:
    """Gemm-7 to 13: alpha·A·B + beta·C."""
    a = a.transpose(0, 1) if node.get("transA", 0) else a
    b = b.transpose(0, 1) if node.get("transB", 0) else b
    alpha, beta = node.get("alpha", 1.0), node.get("beta", 1.0)
    y = matmul(node, a, b)
    y = y if alpha == 1.0 else y * alpha
    if c is None:
        return y
    return y + (c if beta == 1.0 else c * beta)


def matmul(node: OnnxNode, a: Tensor, b: Tensor) -> Tensor:
    """MatMul-1 to 13, NumPy's rules."""
    expect(node, min(a.ndim, b.ndim) >= 2, "a product is of matrices", "a vector", "rank >= 2")
    own_axis(node, a, -1)
    own_axis(node, b, -2)
    return torch.matmul(a, b)


OPERATORS = {"Linear": Operator(linear), "Gemm": Operator(gemm), "MatMul": Operator(matmul)}
