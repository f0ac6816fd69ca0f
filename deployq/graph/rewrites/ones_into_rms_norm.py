"""rms_norm(x, shape) becomes rms_norm(x, shape, ones): ONNX's operator has a scale.

Without one torch writes a constant of the input's shape, which is not known before it runs.
"""

from __future__ import annotations

import torch
from torch import fx, nn

from deployq.graph.rewrites.build import aten, new_tensor
from deployq.graph.rewrites.rule import Rewrite, argument, calls, replace


def match(module: fx.GraphModule, node: fx.Node) -> bool:
    return calls(node, aten.rms_norm.default) and argument(node, 2, "weight") is None


def rewrite(module: fx.GraphModule, node: fx.Node) -> None:
    shape = argument(node, 1, "normalized_shape")
    ones = nn.Parameter(torch.ones(*shape), requires_grad=False)
    scale = new_tensor(module, node, f"{node.name}_ones", ones)
    args = (node.args[0], shape, scale, argument(node, 3, "eps"))
    replace(node, aten.rms_norm.default, args)


RULE = Rewrite("ones into an RMSNorm without scale", match, rewrite)
