"""A difference becomes a sum where a constant can take the sign: Add has an integer form.

    x - y c    becomes    x + y (-c)        for a tensor c of the model
    x - c      becomes    x + (-c)

A rotation of pairs by their position's angle is written so. Exact.
"""

from __future__ import annotations

from typing import Any

from torch import fx

from deployq.graph.rewrites.build import aten, shared_tensor
from deployq.graph.rewrites.rule import Rewrite, calls, replace
from deployq.graph.tensors import kin, read_tensor


def match(module: fx.GraphModule, node: fx.Node) -> bool:
    if not calls(node, aten.sub.Tensor) or node.kwargs or len(node.args) != 2:
        return False
    x, y = node.args
    return x is not y and _is_computed(x) and _constant(y) is not None


def _is_computed(x: Any) -> bool:
    return isinstance(x, fx.Node) and x.op != "get_attr" and x.meta["val"].is_floating_point()


def _constant(y: Any) -> fx.Node | None:
    """The tensor that takes the sign: ``y`` itself, or a factor of it that nothing else has."""
    if not isinstance(y, fx.Node) or not y.meta["val"].is_floating_point():
        return None
    if y.op == "get_attr":
        return y
    if not calls(y, aten.mul.Tensor) or len(y.users) > 1:
        return None
    return next((a for a in y.all_input_nodes if a.op == "get_attr"), None)


def rewrite(module: fx.GraphModule, node: fx.Node) -> None:
    x, y = node.args
    read = _constant(y)
    assert read is not None and isinstance(y, fx.Node)
    negative = _negative(module, read)
    if y is read:
        y = negative
    else:
        y.replace_input_with(read, negative)
    replace(node, aten.add.Tensor, (x, y))


def _negative(module: fx.GraphModule, read: fx.Node) -> fx.Node:
    """A tensor of its own, behind the user's; once, however many differences read it."""
    tensor = read_tensor(module, read)
    return shared_tensor(
        module, read.next, f"{read.target}_negative", lambda: kin(-tensor.detach(), tensor)
    )


RULE = Rewrite("sign into constant", match, rewrite)
