"""Constant rows beside computed ones become padding and a sum.

    cat([expand(token), x], 1)    becomes    pad(x, one row of zeros in front) + [token; 0]
    (x + A) + B                   becomes    x + (A + B)        for constants A and B

A class token and the positions that are added behind it are then one constant, and the joint
tensor's codes are those of its rows, moved. Equal up to float32 rounding.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, fx, nn

from deployq.graph.rewrites.build import aten, build, substitute
from deployq.graph.rewrites.rule import Rewrite, argument, calls
from deployq.graph.tensors import attach, read_tensor

EXPANDS = (aten.expand.default, aten.expand_as.default)


def match(module: fx.GraphModule, node: fx.Node) -> bool:
    return _joins(module, node) or _added_twice(node) is not None


def _joins(module: fx.GraphModule, node: fx.Node) -> bool:
    """One computed part among rows that are the same for every sample."""
    if not calls(node, aten.cat.default) or node.meta["val"].ndim != 3:
        return False
    axis, parts = _axis(node), node.all_input_nodes
    constants = [_constant(module, part) for part in parts]
    computed = [part for part, value in zip(parts, constants, strict=True) if value is None]
    rows = (v for v in constants if v is not None)
    whole = all(v.ndim == 3 and v.shape[0] == 1 and v.is_floating_point() for v in rows)
    return axis == 1 and whole and len(computed) == 1 < len(parts)


def _axis(node: fx.Node) -> int:
    return int(argument(node, 1, "dim", 0)) % int(node.meta["val"].ndim)


def _constant(module: fx.GraphModule, node: Any) -> Tensor | None:
    """A tensor of the model, or one that is expanded over the samples."""
    if calls(node, *EXPANDS):
        node = node.all_input_nodes[0]
    return read_tensor(module, node).detach() if node.op == "get_attr" else None


def _added_twice(node: fx.Node) -> tuple[fx.Node, fx.Node, fx.Node] | None:
    """The inner sum and both constants."""
    outer = _sum(node)
    inner = None if outer is None else _sum(outer[0])
    if outer is None or inner is None or len(outer[0].users) > 1:
        return None
    return outer[0], inner[1], outer[1]


def _sum(node: fx.Node) -> tuple[fx.Node, fx.Node] | None:
    """What a constant is added to, and the constant."""
    if not calls(node, aten.add.Tensor) or node.kwargs or len(node.all_input_nodes) != 2:
        return None
    a, b = node.all_input_nodes
    if (a.op == "get_attr") == (b.op == "get_attr"):
        return None
    computed, constant = (b, a) if a.op == "get_attr" else (a, b)
    floats = all(n.meta["val"].is_floating_point() for n in (computed, constant))
    return (computed, constant) if floats else None


def rewrite(module: fx.GraphModule, node: fx.Node) -> None:
    if calls(node, aten.cat.default):
        _join(module, node)
        return
    found = _added_twice(node)
    assert found is not None
    inner, *reads = found
    first, second = (read_tensor(module, read).detach() for read in reads)
    inner.args = tuple(_sum(inner) or ())  # the computed part first
    computed, _ = inner.args
    both = _attached(module, inner, first + second)
    inner.args = (computed, both)
    node.replace_all_uses_with(inner)
    node.graph.erase_node(node)


def _join(module: fx.GraphModule, node: fx.Node) -> None:
    parts = node.all_input_nodes
    constants = [_constant(module, part) for part in parts]
    place = constants.index(None)
    x = parts[place]
    before, after = (
        sum(v.shape[1] for v in part if v is not None)
        for part in (constants[:place], constants[place:])
    )
    rows = int(x.meta["val"].shape[1])
    width = int(node.meta["val"].shape[-1])
    filled = [torch.zeros(1, rows, width) if v is None else v for v in constants]
    padded = build(node, aten.pad.default, x, [0, 0, before, after])
    padded.meta["part"] = "pad"
    constant = _attached(module, node, torch.cat(filled, 1))
    with node.graph.inserting_before(node):
        joined = node.graph.call_function(aten.add.Tensor, (padded, constant))
    substitute(node, joined)


def _attached(module: fx.GraphModule, node: fx.Node, value: Tensor) -> fx.Node:
    name = f"{node.name}_constant"
    while hasattr(module, name):
        name += "_"
    attach(module, name, nn.Parameter(value))
    with node.graph.inserting_before(node):
        read = node.graph.get_attr(name)
    read.meta["val"] = value
    return read


RULE = Rewrite("token to pad", match, rewrite)
