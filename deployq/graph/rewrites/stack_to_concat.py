"""stack(parts, dim) becomes cat([unsqueeze(part, dim), ...], dim): Concat has an integer form."""

from __future__ import annotations

from torch import fx

from deployq.graph.rewrites.build import aten, build
from deployq.graph.rewrites.rule import Rewrite, argument, calls, replace


def match(module: fx.GraphModule, node: fx.Node) -> bool:
    return calls(node, aten.stack.default) and node.meta["val"].is_floating_point()


def rewrite(module: fx.GraphModule, node: fx.Node) -> None:
    axis = int(argument(node, 1, "dim", 0)) % int(node.meta["val"].ndim)
    tensors = argument(node, 0, "tensors")
    parts = [build(node, aten.unsqueeze.default, part, axis) for part in tensors]
    replace(node, aten.cat.default, (parts, axis))


RULE = Rewrite("stack to concat", match, rewrite)
