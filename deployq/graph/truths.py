"""Tensors that hold two values alone: truths as numbers, such as what a mask adds to scores."""

from __future__ import annotations

import torch
from torch import fx

from deployq.graph.operators import MOVEMENT, TRUTHS
from deployq.graph.preparation import PreparedModel, quantizer_path
from deployq.graph.rewrites.rule import calls
from deployq.graph.tensors import read_tensor

aten = torch.ops.aten


def tensors_of_truths(prepared: PreparedModel) -> frozenset[str]:
    """Those on a grid: truths that became numbers, moved or times a number."""
    grids = {quantizer_path("activations", g.name): g.name for g in prepared.plan.tensors}
    truths, numbers, found = set[fx.Node](), set[fx.Node](), set[str]()
    for node in prepared.module.graph.nodes:
        source = node.args[0] if node.args else None
        if calls(node, *TRUTHS) or (calls(node, aten.to.dtype) and node.args[1] == torch.bool):
            truths.add(node)
        elif calls(node, aten.to.dtype) and source in truths:
            numbers.add(node)
        elif calls(node, *MOVEMENT) and source in truths | numbers:
            (truths if source in truths else numbers).add(node)
        elif calls(node, aten.mul.Tensor) and source in numbers and _is_number(node.args[1]):
            numbers.add(node)
        elif node.op == "call_module" and source in numbers:
            if node.target in grids:
                found.add(grids[str(node.target)])
            if node.target in grids or _is_factor(prepared, node):
                numbers.add(node)
    return frozenset(found)


def _is_number(factor: object) -> bool:
    return isinstance(factor, (int, float))


def _is_factor(prepared: PreparedModel, node: fx.Node) -> bool:
    """A layer of one weight, which a product with a number has become."""
    weight = node.args[1] if len(node.args) > 1 else None
    if not isinstance(weight, fx.Node) or weight.op != "get_attr":
        return False
    return read_tensor(prepared.module, weight).numel() == 1
