"""bn(x) without a linear producer becomes conv(x, 1x1 depthwise, weight 1) and bn (law 2).

The new convolution's weights are ones, so the float network is unchanged to the bit; the BatchNorm
is then absorbed like any other. (N, C) becomes a map of one cell on the way.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import fx, nn

from deployq.errors import UnsupportedError
from deployq.graph.rewrites.rule import Rewrite, calls
from deployq.graph.tensors import attach

aten = torch.ops.aten
CONVOLUTIONS = (aten.conv2d.default, aten.conv_transpose2d.input)
NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


def is_batch_norm(module: fx.GraphModule, node: object) -> bool:
    """True when ``node`` calls a BatchNorm module."""
    if not isinstance(node, fx.Node) or node.op != "call_module":
        return False
    return isinstance(module.get_submodule(str(node.target)), NORMS)


def follows_linear(module: fx.GraphModule, node: fx.Node) -> bool:
    """True for a BatchNorm whose channels are the outputs of a layer that feeds nothing else."""
    producer = node.all_input_nodes[0]
    if not calls(producer, *CONVOLUTIONS, aten.linear.default) or len(producer.users) != 1:
        return False
    # of (N, L, C) a fully connected layer makes C, and BatchNorm1d scales L
    return calls(producer, *CONVOLUTIONS) or producer.meta["val"].ndim == 2


def match(module: fx.GraphModule, node: fx.Node) -> bool:
    return is_batch_norm(module, node) and not follows_linear(module, node)


def rewrite(module: fx.GraphModule, node: fx.Node) -> None:
    source, value = node.all_input_nodes[0], node.meta["val"]
    if value.ndim == 2:
        node = _as_map(module, node)
        source = node.all_input_nodes[0]
    elif value.ndim != 4:
        raise UnsupportedError(
            str(node.target),
            "a BatchNorm that follows no linear layer needs (N, C, H, W) or (N, C)",
            found=f"rank {value.ndim}",
            next_step="put it after a linear layer",
        )
    channels = value.shape[1]
    name = f"{node.target}_depthwise_weight".replace(".", "_")
    statistics: Any = module.get_submodule(str(node.target)).running_mean
    module.register_parameter(name, nn.Parameter(torch.ones_like(statistics).view(-1, 1, 1, 1)))
    with node.graph.inserting_before(node):
        weight = node.graph.get_attr(name)
        weight.meta["val"] = module.get_parameter(name).detach()
        args = (source, weight, None, [1, 1], [0, 0], [1, 1], channels)
        conv = node.graph.call_function(aten.conv2d.default, args)
    conv.meta = dict(node.meta)
    node.replace_input_with(source, conv)


def _as_map(module: fx.GraphModule, node: fx.Node) -> fx.Node:
    """bn(x) of (N, C) becomes flatten(bn(x[:, :, None, None])); its tensors stay what they are."""
    norm_of_maps(module, str(node.target))
    value, graph = node.meta["val"], node.graph
    column, cell = value[:, :, None], value[:, :, None, None]
    with graph.inserting_before(node):
        first = graph.call_function(aten.unsqueeze.default, (node.args[0], 2))
        second = graph.call_function(aten.unsqueeze.default, (first, 3))
        made = graph.call_module(str(node.target), (second,))
        back = graph.call_function(aten.flatten.using_ints, (made, 1))
    for new, shown, part in ((first, column, "unsqueeze"), (second, cell, "unsqueeze"),
                             (back, value, "flatten")):  # fmt: skip
        new.meta = {**node.meta, "val": shown, "part": part}
    made.meta = {**node.meta, "val": cell}
    node.replace_all_uses_with(back)
    graph.erase_node(node)
    return made


def norm_of_maps(module: fx.GraphModule, path: str) -> None:
    """Put a BatchNorm2d of the same tensors in the place of a BatchNorm of rows."""
    flat: Any = module.get_submodule(path)
    norm = nn.BatchNorm2d(flat.num_features, flat.eps, flat.momentum, affine=flat.affine)
    for name in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked"):
        setattr(norm, name, getattr(flat, name))
    attach(module, path, norm.train(flat.training))


RULE = Rewrite("lone BatchNorm to depthwise convolution", match, rewrite)
