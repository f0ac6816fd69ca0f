"""hardswish(x) becomes x * hardsigmoid(x) (Howard et al. 2019, arXiv 1905.02244, section 5.2)."""

from __future__ import annotations

from torch import fx

from deployq.graph.rewrites.build import aten, build
from deployq.graph.rewrites.rule import Rewrite, calls, replace


def match(module: fx.GraphModule, node: fx.Node) -> bool:
    return calls(node, aten.hardswish.default)


def rewrite(module: fx.GraphModule, node: fx.Node) -> None:
    gate = build(node, aten.hardsigmoid.default, node.all_input_nodes[0])
    gate.meta["name"] = f"{node.meta['name']}.hardsigmoid"
    replace(node, aten.mul.Tensor, (node.all_input_nodes[0], gate))


RULE = Rewrite("hardswish to mul", match, rewrite)
