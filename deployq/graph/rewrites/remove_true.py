"""A constant that is true everywhere goes from a conjunction.

    logical_and(true (1, 1, T, T), c (N, 1, 1, T))    becomes    expand(c, (N, 1, T, T))

A network that hides no key of its own has such a constant.
"""

from __future__ import annotations

from torch import fx

from deployq.graph.rewrites.build import aten, build, substitute
from deployq.graph.rewrites.rule import Rewrite, calls
from deployq.graph.tensors import read_tensor


def match(module: fx.GraphModule, node: fx.Node) -> bool:
    return calls(node, aten.logical_and.default) and _other(module, node) is not None


def _other(module: fx.GraphModule, node: fx.Node) -> fx.Node | None:
    """The operand beside one that is constant and true, of the rank of both together."""
    first, second = node.args[:2]
    for one, other in ((first, second), (second, first)):
        assert isinstance(one, fx.Node) and isinstance(other, fx.Node)
        alike = other.meta["val"].ndim == node.meta["val"].ndim
        if one.op == "get_attr" and alike and bool(read_tensor(module, one).all()):
            return other
    return None


def rewrite(module: fx.GraphModule, node: fx.Node) -> None:
    other = _other(module, node)
    assert other is not None
    whole, given = node.meta["val"].shape, other.meta["val"].shape
    if whole == given:
        substitute(node, other)
        return
    sizes = [-1 if a == b else b for a, b in zip(given, whole, strict=True)]
    substitute(node, build(node, aten.expand.default, other, sizes))


RULE = Rewrite("remove true", match, rewrite)
