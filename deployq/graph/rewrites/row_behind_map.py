"""What is computed of a row is computed of the map that it was taken from.

    f(squeeze(x, 2))                      becomes    squeeze(f(x), 2)
    squeeze(x, 2) + squeeze(y, 2)         becomes    squeeze(x + y, 2)
    mean(squeeze(x, 2), -1)               becomes    mean(x, (2, 3))
    unsqueeze(squeeze(x, 2), 2)           becomes    x

A convolution of rows is one of maps of one row (``conv1d_to_conv2d``). BatchNorm, activation and
sum then stand behind it, where they join it. Exact.
"""

from __future__ import annotations

from typing import Any

from torch import fx, nn

from deployq.graph.rewrites.batch_norm_to_depthwise import is_batch_norm, norm_of_maps
from deployq.graph.rewrites.build import aten
from deployq.graph.rewrites.rule import Rewrite, argument, calls

ROW = 2
"""The axis of a map that a row lacks."""
FUNCTIONS = (
    aten.relu.default,
    aten.clamp.default,
    aten.leaky_relu.default,
    aten.prelu.default,
    aten.sigmoid.default,
    aten.silu.default,
    aten.tanh.default,
    aten.hardsigmoid.default,
    aten.hardswish.default,
    aten.elu.default,
    aten.gelu.default,
    aten.mish.default,
)
"""Of each element alone."""
JOINING = (aten.add.Tensor, aten.mul.Tensor, aten.cat.default)


def match(module: fx.GraphModule, node: fx.Node) -> bool:
    if node.op not in ("call_function", "call_module"):
        return False
    tensors = list(node.all_input_nodes)
    if calls(node, aten.prelu.default):
        tensors.pop()  # a slope for each channel, or one
    if not tensors or not all(map(_is_row, tensors)):
        return False
    if node.op == "call_module":
        return _is_alone(module, node) or isinstance(_child(module, node), nn.Dropout)
    return (
        calls(node, *FUNCTIONS)
        or (calls(node, aten.unsqueeze.default) and node.args[1] in (ROW, ROW - 4))
        or (calls(node, *JOINING) and argument(node, 1, "dim", 1) != 0)
        or (calls(node, aten.pad.default) and len(node.args[1]) == 2)  # type: ignore[arg-type] # a list
        or _averages(node)
    )


def _is_row(node: fx.Node) -> bool:
    """True for a map of one row without that axis."""
    if not calls(node, aten.squeeze.dim) or node.args[1] != ROW:
        return False
    shape = node.all_input_nodes[0].meta["val"].shape
    return len(shape) == 4 and shape[ROW] == 1


def _child(module: fx.GraphModule, node: fx.Node) -> nn.Module:
    return module.get_submodule(str(node.target))


def _is_alone(module: fx.GraphModule, node: fx.Node) -> bool:
    """True for a BatchNorm that no other call has a part in."""
    others = (n for n in module.graph.nodes if n.op == "call_module" and n.target == node.target)
    return is_batch_norm(module, node) and list(others) == [node]


def _averages(node: fx.Node) -> bool:
    if not calls(node, aten.mean.dim) or argument(node, 3, "dtype") is not None:
        return False
    return argument(node, 1, "dim") in ([-1], [2])


def rewrite(module: fx.GraphModule, node: fx.Node) -> None:
    if calls(node, aten.unsqueeze.default):
        node.replace_all_uses_with(node.all_input_nodes[0].all_input_nodes[0])
        node.graph.erase_node(node)
        return
    value, keeps = node.meta["val"], True
    for row in filter(_is_row, node.all_input_nodes):
        node.replace_input_with(row, row.all_input_nodes[0])
    if is_batch_norm(module, node):
        norm_of_maps(module, str(node.target))
    elif calls(node, aten.cat.default):
        axis = argument(node, 1, "dim", 0)
        node.args = (node.args[0], axis % 3 + (axis % 3 == ROW))
    elif calls(node, aten.pad.default) and argument(node, 2, "mode", "constant") != "constant":
        pads: Any = node.args[1]
        node.update_arg(1, [*pads, 0, 0])
    elif calls(node, aten.mean.dim):
        keeps = bool(argument(node, 2, "keepdim", False))
        node.update_arg(1, [2, 3])
    node.meta = {**node.meta, "val": value.unsqueeze(ROW) if keeps else value}
    if not keeps:
        return
    with node.graph.inserting_after(node):
        row = node.graph.call_function(aten.squeeze.dim, (node, ROW))
    row.meta = {**node.meta, "val": value, "part": "row"}
    node.replace_all_uses_with(row, delete_user_cb=lambda user: user is not row)


RULE = Rewrite("row behind map", match, rewrite)
