"""col2im (Fold) becomes a transposed convolution whose weights are 0 and 1.

    col2im(x (N, C kh kw, L), size, k)    becomes
    conv_transpose2d(x (N, C kh kw, rows, columns), w)

Each place of a window goes to its own cell, ``w[c kh kw + i kw + j, 0, i, j] = 1`` in C groups;
where windows overlap the cells are summed, as ``torch.nn.functional.fold`` has it: one sum of
integers, with one rounding. VOLO mixes its neighbourhoods so.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import fx, nn

from deployq.graph.rewrites.build import aten, build, new_tensor, substitute
from deployq.graph.rewrites.rule import Rewrite, argument, calls

NUMBERS = ((2, "kernel_size"), (3, "dilation"), (4, "padding"), (5, "stride"))
"""Place and name of the geometry, (rows, columns) each."""


def match(module: fx.GraphModule, node: fx.Node) -> bool:
    if not calls(node, aten.col2im.default):
        return False
    shape = node.all_input_nodes[0].meta["val"].shape
    sizes: list[Any] = [*shape[1:], *argument(node, 1, "output_size")]
    return len(shape) == 3 and all(isinstance(size, int) for size in sizes)


def rewrite(module: fx.GraphModule, node: fx.Node) -> None:
    kernel, dilation, padding, stride = (list(argument(node, i, name)) for i, name in NUMBERS)
    x, size = node.all_input_nodes[0], list(argument(node, 1, "output_size"))
    reach = [d * (k - 1) + 1 for k, d in zip(kernel, dilation, strict=True)]
    padded = [s + 2 * p for s, p in zip(size, padding, strict=True)]
    over = [s - r for s, r in zip(padded, reach, strict=True)]
    rows, columns = (o // step + 1 for o, step in zip(over, stride, strict=True))
    left = [o % step for o, step in zip(over, stride, strict=True)]  # cells that no window reaches
    width = x.meta["val"].shape[1]
    windows = build(node, aten.reshape.default, x, [-1, width, rows, columns])
    windows.meta["part"] = "windows"
    cells = math.prod(kernel)
    one = torch.eye(cells).reshape(cells, 1, *kernel).repeat(width // cells, 1, 1, 1)
    weight = new_tensor(module, node, f"{node.name}_places", nn.Parameter(one, requires_grad=False))
    geometry = (stride, padding, left, width // cells, dilation)
    with node.graph.inserting_before(node):
        arguments = (windows, weight, None, *geometry)
        layer = node.graph.call_function(aten.conv_transpose2d.input, arguments)
    substitute(node, layer)


RULE = Rewrite("windows to layer", match, rewrite)
