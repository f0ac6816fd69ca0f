"""x * c and x / c melt into the fully connected layer that makes x.

    mul(moved(linear(y, W, b)), c)          becomes    moved(linear(y, c W, c b))
    mul(matmul(moved(linear(y, W, b)), k), c)          the same, in the left factor

The factor of an attention then costs nothing. Exact where c is a power of two, else equal up to
float32 rounding. The layer's tensors are new ones, ``scaled_weight`` and ``scaled_bias``, which
learn where the user's do; those stay as they are.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import fx

from deployq.graph.rewrites.axes import MOVES
from deployq.graph.rewrites.build import aten
from deployq.graph.rewrites.own_parameters import owns_parameters
from deployq.graph.rewrites.rule import Rewrite, calls
from deployq.graph.tensors import attach, free_name, kin, read_tensor


def match(module: fx.GraphModule, node: fx.Node) -> bool:
    return _factor(node) is not None and _layer(module, node.all_input_nodes[0], node) is not None


def _factor(node: fx.Node) -> float | None:
    """The number that a call multiplies one tensor by."""
    if not calls(node, aten.mul.Tensor, aten.div.Tensor) or node.kwargs or len(node.args) != 2:
        return None
    a, b = node.args
    if calls(node, aten.div.Tensor):
        return 1.0 / b if isinstance(b, (int, float)) and b else None
    number: Any = b if isinstance(a, fx.Node) else a
    return float(number) if isinstance(number, (int, float)) else None


def _layer(module: fx.GraphModule, node: fx.Node, reader: fx.Node) -> fx.Node | None:
    """The layer whose output arrives here alone and once, moved or as the left factor of a product.

    The factor of ``a @ a`` would come in twice.
    """
    while list(node.users) == [reader] and reader.args.count(node) == 1:
        if calls(node, aten.linear.default):
            return node if owns_parameters(module, node) else None
        if not calls(node, *MOVES, aten.slice.Tensor, aten.matmul.default, aten.bmm.default):
            return None
        reader, node = node, node.all_input_nodes[0]
    return None


def rewrite(module: fx.GraphModule, node: fx.Node) -> None:
    factor, source = _factor(node), node.all_input_nodes[0]
    layer = _layer(module, source, node)
    assert factor is not None and layer is not None
    operands = [None if a is None else _scaled(module, layer, a, factor) for a in layer.args[1:]]
    layer.args = (layer.args[0], *operands)
    node.replace_all_uses_with(source)
    node.graph.erase_node(node)


def _scaled(module: fx.GraphModule, layer: fx.Node, read: Any, factor: float) -> fx.Node:
    """A tensor of its own, beside the user's."""
    path, _, leaf = str(read.target).rpartition(".")
    name, tensor = free_name(module, f"{path}.scaled_{leaf}".lstrip(".")), read_tensor(module, read)
    value = kin(tensor.detach() * torch.tensor(factor), tensor)
    attach(module, name, value)
    with layer.graph.inserting_before(layer):
        made = layer.graph.get_attr(name)
    made.meta["val"] = value.detach()
    return made


RULE = Rewrite("scalar into layer", match, rewrite)
