"""rms_norm(x, shape) becomes rms_norm(x, shape, ones): ONNX's operator has a scale.

Without one torch writes a constant of the input's shape, which is not known before it runs.
"""

from __future__ import annotations

import torch
from torch import fx, nn

from deployq.graph.rewrites.rule import Rewrite, argument, calls, replace
from deployq.graph.tensors import attach

aten = torch.ops.aten


def match(module: fx.GraphModule, node: fx.Node) -> bool:
    return calls(node, aten.rms_norm.default) and argument(node, 2, "weight") is None


def rewrite(module: fx.GraphModule, node: fx.Node) -> None:
    shape = argument(node, 1, "normalized_shape")
    name = f"{node.name}_ones"
    while hasattr(module, name):
        name += "_"
    ones = torch.ones(*shape)
    attach(module, name, nn.Parameter(ones, requires_grad=False))
    with node.graph.inserting_before(node):
        scale = node.graph.get_attr(name)
    scale.meta["val"] = ones
    args = (node.args[0], shape, scale, argument(node, 3, "eps"))
    replace(node, aten.rms_norm.default, args)


RULE = Rewrite("ones into an RMSNorm without scale", match, rewrite)
