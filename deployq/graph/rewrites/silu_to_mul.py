"""silu(x) becomes x * sigmoid(x): two operators with integer forms on every runtime.

ONNX has no SiLU before opset 24, and no runtime here has an integer kernel for it; the two factors
round once more, equal up to float32 rounding.
"""

from __future__ import annotations

import torch
from torch import fx

from deployq.graph.rewrites.rule import Rewrite, calls, replace

aten = torch.ops.aten


def match(module: fx.GraphModule, node: fx.Node) -> bool:
    return calls(node, aten.silu.default)


def rewrite(module: fx.GraphModule, node: fx.Node) -> None:
    x = node.args[0]
    with node.graph.inserting_before(node):
        gate = node.graph.call_function(aten.sigmoid.default, (x,))
    gate.meta = {**node.meta, "part": "sigmoid"}
    replace(node, aten.mul.Tensor, (x, gate))


RULE = Rewrite("silu to mul", match, rewrite)
