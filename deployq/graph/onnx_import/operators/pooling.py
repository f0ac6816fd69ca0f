"""MaxPool, AveragePool and the pools over whole maps."""

from __future__ import annotations

from math import ceil

from torch import Tensor
from torch.nn import functional as F

from deployq.graph.onnx_import.arguments import expect, expect_map
from deployq.graph.onnx_import.node import OnnxNode
from deployq.graph.onnx_import.operators.operator import Operator
from deployq.graph.onnx_import.operators.windows import Window, pad_map, read_window


def max_pool(node: OnnxNode, x: Tensor) -> Tensor:
    """MaxPool-1 to 22, values only."""
    expect_map(node, x)
    window = read_window(node, x, node.get("kernel_shape"))
    wanted = _sizes(x, window, window.ends, bool(node.get("ceil_mode", 0)))
    padding = window.begins
    for rounds_up in (False, True):  # cells outside never win: more of them change nothing
        fits = all(2 * pad <= k for pad, k in zip(padding, window.kernel, strict=True))
        if fits and _sizes(x, window, padding, rounds_up) == wanted:
            return F.max_pool2d(
                x, window.kernel, window.strides, padding, window.dilations, rounds_up
            )
    x = pad_map(x, window, float("-inf"))
    rounds_up = bool(node.get("ceil_mode", 0))
    return F.max_pool2d(x, window.kernel, window.strides, 0, window.dilations, rounds_up)


def _sizes(x: Tensor, window: Window, ends: tuple[int, int], rounds_up: bool) -> list[int]:
    """Rows and columns of the result; a window that starts behind the map is dropped."""
    sizes = []
    for axis in (0, 1):
        size, begin = int(x.shape[2 + axis]), window.begins[axis]
        stride = window.strides[axis]
        reach = window.dilations[axis] * (window.kernel[axis] - 1) + 1
        steps = (size + begin + ends[axis] - reach) / stride
        count = (ceil(steps) if rounds_up else int(steps // 1)) + 1
        drops = rounds_up and (count - 1) * stride >= size + begin
        sizes.append(count - 1 if drops else count)
    return sizes


def average_pool(node: OnnxNode, x: Tensor) -> Tensor:
    """AveragePool-7 to 22."""
    expect_map(node, x)
    window = read_window(node, x, node.get("kernel_shape"))
    expect(node, window.dilations == (1, 1), "a mean is over neighbours", "dilations", "1, 1")
    counts = bool(node.get("count_include_pad", 0))
    rounds_up, padding = bool(node.get("ceil_mode", 0)), window.begins
    if not window.symmetric:
        expect(
            node,
            counts and not rounds_up,
            "pads that differ between sides count as zeros",
            f"pads {(*window.begins, *window.ends)}",
            "equal pads on both sides, or count_include_pad 1 without ceil_mode",
            "put a Pad before the AveragePool",
        )
        x, padding = pad_map(x, window), (0, 0)
    return F.avg_pool2d(x, window.kernel, window.strides, padding, rounds_up, counts)


def global_average_pool(node: OnnxNode, x: Tensor) -> Tensor:
    expect_map(node, x)
    return F.adaptive_avg_pool2d(x, 1)


def global_max_pool(node: OnnxNode, x: Tensor) -> Tensor:
    expect_map(node, x)
    return F.max_pool2d(x, [int(size) for size in x.shape[2:]])


OPERATORS = {
    "MaxPool": Operator(max_pool),
    "AveragePool": Operator(average_pool),
    "GlobalAveragePool": Operator(global_average_pool),
    "GlobalMaxPool": Operator(global_max_pool),
}
