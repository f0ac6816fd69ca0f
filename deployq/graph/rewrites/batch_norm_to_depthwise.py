"""bn(x) without a linear producer becomes conv(x, 1x1 depthwise, weight 1) and bn (law 2).

The new convolution's weights are ones, so the float network is unchanged to the bit; the BatchNorm
is then absorbed like any other.
"""

from __future__ import annotations

import torch
from torch import fx, nn

from deployq.errors import UnsupportedError
from deployq.graph.rewrites.rule import Rewrite, calls

aten = torch.ops.aten
LINEAR = (aten.conv2d.default, aten.linear.default)
NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


def is_batch_norm(module: fx.GraphModule, node: object) -> bool:
    """True when ``node`` calls a BatchNorm module."""
    if not isinstance(node, fx.Node) or node.op != "call_module":
        return False
    return isinstance(module.get_submodule(str(node.target)), NORMS)


def match(module: fx.GraphModule, node: fx.Node) -> bool:
    if not is_batch_norm(module, node):
        return False
    producer = node.args[0]
    assert isinstance(producer, fx.Node)
    return not (calls(producer, *LINEAR) and len(producer.users) == 1)


def rewrite(module: fx.GraphModule, node: fx.Node) -> None:
    source = node.args[0]
    assert isinstance(source, fx.Node)
    if node.meta["val"].ndim != 4:
        raise UnsupportedError(
            str(node.target), "a BatchNorm that follows no linear layer needs (N, C, H, W)",
            found=f"rank {node.meta['val'].ndim}", next_step="put it after a linear layer",
        )
    channels = node.meta["val"].shape[1]
    name = f"{node.target}_depthwise_weight".replace(".", "_")
    module.register_parameter(name, nn.Parameter(torch.ones(channels, 1, 1, 1)))
    with node.graph.inserting_before(node):
        weight = node.graph.get_attr(name)
        args = (source, weight, None, [1, 1], [0, 0], [1, 1], channels)
        conv = node.graph.call_function(aten.conv2d.default, args)
    conv.meta = {**node.meta, "nn_module_stack": node.meta.get("nn_module_stack", {})}
    node.replace_input_with(source, conv)


RULE = Rewrite("lone BatchNorm to depthwise convolution", match, rewrite)
