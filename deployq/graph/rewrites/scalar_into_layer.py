"""x * c and x / c melt into the fully connected layers and the constants that make x.

    mul(moved(linear(y, W, b)), c)          becomes    moved(linear(y, c W, c b))
    mul(matmul(moved(linear(y, W, b)), k), c)          the same, in the left factor
    mul(a A + b B, c)                       becomes    a (c A) + b (c B)    for constants A and B

The factor of an attention then costs nothing, also behind a rotation. Exact where c is a power of
two, else equal up to float32 rounding. The scaled tensors are new ones, ``scaled_weight`` and
``scaled_bias``, which learn where the user's do; those stay as they are.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import fx

from deployq.graph.rewrites.axes import MOVES
from deployq.graph.rewrites.build import aten, new_tensor
from deployq.graph.rewrites.own_parameters import owns_parameters
from deployq.graph.rewrites.rule import Rewrite, calls
from deployq.graph.tensors import kin, read_tensor


def match(module: fx.GraphModule, node: fx.Node) -> bool:
    return _factor(node) is not None and bool(_makers(module, node.all_input_nodes[0], node))


def _factor(node: fx.Node) -> float | None:
    """The number that a call multiplies one tensor by."""
    if not calls(node, aten.mul.Tensor, aten.div.Tensor) or node.kwargs or len(node.args) != 2:
        return None
    a, b = node.args
    if calls(node, aten.div.Tensor):
        return 1.0 / b if isinstance(b, (int, float)) and b else None
    number: Any = b if isinstance(a, fx.Node) else a
    return float(number) if isinstance(number, (int, float)) else None


def _makers(module: fx.GraphModule, node: fx.Node, reader: fx.Node) -> list[fx.Node]:
    """The layers and products with constants whose results arrive here alone and once; none if
    another call has a part. The factor of ``a @ a`` would come in twice.
    """
    if list(node.users) != [reader] or _operands(reader).count(node) != 1:
        return []
    if calls(node, aten.linear.default):
        return [node] if owns_parameters(module, node) else []
    if calls(node, aten.mul.Tensor) and any(_is_tensor(a) for a in node.args):
        return [node]
    if calls(node, aten.cat.default) or (_adds_tensors(node) and not node.kwargs):
        parts = [_makers(module, part, node) for part in node.all_input_nodes]
        return [maker for part in parts for maker in part] if all(parts) else []
    if calls(node, *MOVES, aten.slice.Tensor, aten.matmul.default, aten.bmm.default):
        return _makers(module, node.all_input_nodes[0], node)
    return []


def _operands(reader: fx.Node) -> list[object]:
    """Arguments of a call, those of a Concat's list too, as often as they stand there."""
    first = reader.args[0]
    return [*(first if isinstance(first, (list, tuple)) else (first,)), *reader.args[1:]]


def _adds_tensors(node: fx.Node) -> bool:
    return calls(node, aten.add.Tensor) and all(isinstance(a, fx.Node) for a in node.args)


def _is_tensor(a: Any) -> bool:
    """True for a float tensor of the model."""
    return isinstance(a, fx.Node) and a.op == "get_attr" and a.meta["val"].is_floating_point()


def rewrite(module: fx.GraphModule, node: fx.Node) -> None:
    factor, source = _factor(node), node.all_input_nodes[0]
    assert factor is not None
    for maker in _makers(module, source, node):
        reads = [i for i, a in enumerate(maker.args) if _is_tensor(a)]
        for index in reads if calls(maker, aten.linear.default) else reads[:1]:
            maker.update_arg(index, _scaled(module, maker, maker.args[index], factor))
    node.replace_all_uses_with(source)
    node.graph.erase_node(node)


def _scaled(module: fx.GraphModule, layer: fx.Node, read: Any, factor: float) -> fx.Node:
    """A tensor of its own, beside the user's."""
    path, _, leaf = str(read.target).rpartition(".")
    tensor = read_tensor(module, read)
    value = kin(tensor.detach() * torch.tensor(factor), tensor)
    return new_tensor(module, layer, f"{path}.scaled_{leaf}".lstrip("."), value)


RULE = Rewrite("scalar into layer", match, rewrite)
