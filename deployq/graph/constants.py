"""Calls whose operands are all parameters or buffers are computed once, at capture.

Standardised weights (``weight - mean(weight)``), reshaped biases and the like become plain tensors;
what trained through such a call then trains its result.
"""

from __future__ import annotations

import torch
from torch import Tensor, fx

from deployq.graph.node_names import module_path
from deployq.graph.tensors import attach, kin, read_tensor


def fold_constants(module: fx.GraphModule) -> None:
    """Replace every call of constants by its value, in place."""
    for node in list(module.graph.nodes):
        if _is_constant(node):
            _fold(module, node)
    module.graph.eliminate_dead_code()


def _is_constant(node: fx.Node) -> bool:
    operands = node.all_input_nodes
    if node.op != "call_function" or not isinstance(node.meta.get("val"), Tensor):
        return False
    if node.target is torch.ops.aten.lift_fresh_copy.default:  # in-place calls on it may follow
        return False
    pure = isinstance(node.target, torch._ops.OpOverload) and not node.target._schema.is_mutable
    return pure and bool(operands) and all(operand.op == "get_attr" for operand in operands)


def _fold(module: fx.GraphModule, node: fx.Node) -> None:
    tensors = {operand: read_tensor(module, operand) for operand in node.all_input_nodes}
    args, kwargs = fx.map_arg((node.args, node.kwargs), lambda operand: tensors[operand].detach())
    value: Tensor = node.target(*args, **kwargs).clone()  # type: ignore[operator] # an overload
    name = f"{module_path(node)}.folded_{node.name}".lstrip(".")
    attach(module, name, kin(value, *tensors.values()) if value.is_floating_point() else value)
    with module.graph.inserting_before(node):
        read = module.graph.get_attr(name)
    read.meta = dict(node.meta)
    node.replace_all_uses_with(read)
    module.graph.erase_node(node)
