"""Which calls of an exported program the values of its inputs do not change."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import fx

from deployq.graph.rewrites.rule import argument, calls

RANDOM = torch.Tag.nondeterministic_seeded


def independent_nodes(graph: fx.Graph) -> dict[fx.Node, None]:
    """Tensors of the model, sizes, and calls of nothing else, in graph order.

    Left out: what draws random numbers, and what writes to a tensor of the model, which later steps
    refuse with its name.
    """
    known: dict[fx.Node, None] = {}
    for node in graph.nodes:
        given = node.op == "get_attr" or isinstance(node.meta.get("val"), torch.SymInt)
        if given or (node.op == "call_function" and _is_repeatable(node, known)):
            known[node] = None
    return known


def _is_repeatable(node: fx.Node, known: Mapping[fx.Node, None]) -> bool:
    """A second call with what is known gives the same."""
    overload: Any = node.target
    if not all(operand in known for operand in node.all_input_nodes):
        return False
    if not isinstance(overload, torch._ops.OpOverload):
        return True  # an item of a tuple, arithmetic on sizes, a block without gradients
    if RANDOM in overload.tags:
        return calls(node, torch.ops.aten.dropout.default) and not argument(node, 2, "train")
    return not (overload._schema.is_mutable and _memory(node.args[0]).op == "get_attr")


def _memory(node: Any) -> fx.Node:
    """Whose memory a tensor is: the source of a chain of views."""
    while isinstance(node.target, torch._ops.OpOverload) and node.all_input_nodes:
        returns = [value.alias_info for value in node.target._schema.returns]
        if not any(alias is not None for alias in returns):
            break
        node = node.all_input_nodes[0]
    assert isinstance(node, fx.Node)
    return node
