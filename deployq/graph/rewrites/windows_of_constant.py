"""A constant for each window is added where the windows have an axis of their own.

    x + flatten(expand(m (1, W, T, T), (N, W, T, T)), 0, 1)    becomes
    flatten(x.reshape(N, W, T, T) + expand(m), 0, 1)

Masks of shifted windows are such constants; ``remove_expand`` then leaves the sum to broadcasting.
"""

from __future__ import annotations

from typing import Any

from torch import fx

from deployq.graph.rewrites.build import aten, build, substitute
from deployq.graph.rewrites.expand_to_gather import EXPANDS
from deployq.graph.rewrites.rule import Rewrite, calls

SUMS = (aten.add.Tensor, aten.mul.Tensor)


def match(module: fx.GraphModule, node: fx.Node) -> bool:
    if not calls(node, *SUMS) or len(node.all_input_nodes) != 2 or node.kwargs:
        return False
    x, merged = _operands(node)
    if merged is None or x is None:
        return False
    sizes = list(x.meta["val"].shape)
    whole = sizes == list(node.meta["val"].shape)
    return whole and all(isinstance(size, int) for size in sizes[1:])


def _operands(node: fx.Node) -> tuple[fx.Node | None, fx.Node | None]:
    """The computed one, and the constant one."""
    a, b = node.all_input_nodes
    if _is_merged(b):
        return a, b
    return (b, a) if _is_merged(a) else (None, None)


def _is_merged(node: fx.Node) -> bool:
    """Windows of a constant, which is the same for all samples, among these."""
    if not calls(node, aten.reshape.default):
        return False
    many: Any = node.args[0]
    if not calls(many, *EXPANDS) or many.all_input_nodes[0].op != "get_attr":
        return False
    return list(many.meta["val"].shape[2:]) == list(node.meta["val"].shape[1:])


def rewrite(module: fx.GraphModule, node: fx.Node) -> None:
    x, merged = _operands(node)
    assert x is not None and merged is not None
    many: Any = merged.args[0]
    windows, shape = many.meta["val"].shape[1], list(x.meta["val"].shape[1:])
    apart = build(node, aten.reshape.default, x, [-1, windows, *shape])
    apart.meta["part"] = "windows"
    with node.graph.inserting_before(node):
        total = node.graph.call_function(node.target, (apart, many))  # type: ignore[arg-type] # a call
    total.meta = {**node.meta, "val": apart.meta["val"]}
    substitute(node, build(node, aten.reshape.default, total, [-1, *node.meta["val"].shape[1:]]))


RULE = Rewrite("windows of a constant", match, rewrite)
