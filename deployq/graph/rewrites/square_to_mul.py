"""square(x) and pow(x, 2) become mul(x, x): a product of codes."""

from __future__ import annotations

from torch import fx

from deployq.graph.rewrites.build import aten
from deployq.graph.rewrites.rule import Rewrite, calls, replace


def match(module: fx.GraphModule, node: fx.Node) -> bool:
    if calls(node, aten.pow.Tensor_Scalar):
        return bool(node.args[1] == 2)
    return calls(node, aten.square.default)


def rewrite(module: fx.GraphModule, node: fx.Node) -> None:
    x = node.args[0]
    replace(node, aten.mul.Tensor, (x, x))


RULE = Rewrite("square to mul", match, rewrite)
