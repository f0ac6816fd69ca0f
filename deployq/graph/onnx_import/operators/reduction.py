"""ReduceMean and ReduceSum along axes that are not the batch."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from deployq.graph.onnx_import.arguments import numbers
from deployq.graph.onnx_import.batch import own_axis
from deployq.graph.onnx_import.node import OnnxNode, Value
from deployq.graph.onnx_import.operators.operator import ALL, Operator


def _reduce(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Axes are an attribute, and an input from opset 13 (sum) or 18 (mean) on."""

    def run(node: OnnxNode, x: Tensor, axes: Value = None) -> Tensor:
        wanted = numbers(node, axes, "axes")
        if not wanted and node.get("noop_with_empty_axes", 0):
            return x
        own = [own_axis(node, x, axis) for axis in wanted or range(x.ndim)]
        return function(x, own, bool(node.get("keepdims", 1)))

    return run


OPERATORS = {
    "ReduceMean": Operator(_reduce(torch.mean), static=ALL),
    "ReduceSum": Operator(_reduce(torch.sum), static=ALL),
}
