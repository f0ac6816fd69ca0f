"""hardsigmoid(x) becomes a layer whose range is clamped.

    hardsigmoid(x) = clamp(x / 6 + 1/2, 0, 1)
    hardsigmoid(layer(y, W, b))    becomes    clamp(layer(y, W / 6, b / 6 + 1/2), 0, 1)
    hardsigmoid(x)                 becomes    clamp(Conv(x, 1/6 for each channel, 1/2), 0, 1)

A grid that ends at 0 and 1 makes the clamp redundant, so a gate of squeeze and excitation costs
nothing beside its layer. The tensors are new ones, which learn where the user's do.
"""

from __future__ import annotations

import torch
from torch import Tensor, fx, nn

from deployq.graph.rewrites.build import aten, build, new_tensor
from deployq.graph.rewrites.own_parameters import owns_parameters
from deployq.graph.rewrites.rule import Rewrite, argument, calls
from deployq.graph.tensors import kin, read_tensor

SLOPE, OFFSET = 1 / 6, 0.5
MAP = 4
"""Axes of what a convolution reads."""


def match(module: fx.GraphModule, node: fx.Node) -> bool:
    if not calls(node, aten.hardsigmoid.default):
        return False
    source = node.all_input_nodes[0]
    shape = source.meta["val"].shape
    return _is_own_layer(module, source) or (2 <= len(shape) <= MAP and isinstance(shape[1], int))


def _is_own_layer(module: fx.GraphModule, source: fx.Node) -> bool:
    """True for a layer that nothing else reads, and whose tensors are its alone."""
    layer = calls(source, aten.conv2d.default, aten.linear.default) and len(source.users) == 1
    return layer and not source.kwargs and owns_parameters(module, source)


def rewrite(module: fx.GraphModule, node: fx.Node) -> None:
    source, name = node.all_input_nodes[0], str(node.meta["name"])
    own = _is_own_layer(module, source)
    made = _scaled(module, source) if own else _gate(module, node)
    made = build(node, aten.clamp.default, made, 0.0, 1.0)
    if not own:  # the convolution has the name
        made.meta["name"] = f"{name}.clamp"
    for axis in reversed(range(node.meta["val"].ndim, made.meta["val"].ndim)):
        made = build(node, aten.squeeze.dim, made, axis)
        made.meta["name"] = f"{name}.squeeze{axis}"
    node.replace_all_uses_with(made)
    node.graph.erase_node(node)


def _scaled(module: fx.GraphModule, layer: fx.Node) -> fx.Node:
    """The layer with a weight and a bias of its own, beside the user's."""
    read, bias = argument(layer, 1, "weight"), argument(layer, 2, "bias")
    weight = read_tensor(module, read)
    scaled = {"weight": kin(weight.detach() * SLOPE, weight)}
    if bias is None:
        offset = weight.new_full((len(weight),), OFFSET)
    else:
        offset = read_tensor(module, bias).detach() * SLOPE + OFFSET
    scaled["bias"] = kin(offset, weight if bias is None else read_tensor(module, bias))
    path = str(read.target).rpartition(".")[0]
    reads = [
        _read(module, layer, f"{path}.scaled_{kind}".lstrip("."), tensor)
        for kind, tensor in scaled.items()
    ]
    layer.args = (layer.args[0], *reads, *layer.args[3:])
    return layer


def _gate(module: fx.GraphModule, node: fx.Node) -> fx.Node:
    """A depthwise convolution of single cells over the input, seen as a map."""
    source = node.all_input_nodes[0]
    name, value = str(node.meta["name"]), source.meta["val"]
    channels = int(value.shape[1])
    for number in range(value.ndim, MAP):  # (N, C) and (N, C, L) become maps of single cells
        source = build(node, aten.unsqueeze.default, source, number)
        source.meta["name"] = f"{name}.unsqueeze{number}"
    weight, bias = torch.full((channels, 1, 1, 1), SLOPE), torch.full((channels,), OFFSET)
    reads = [
        _read(module, node, f"{name}.{kind}", nn.Parameter(tensor))
        for kind, tensor in (("weight", weight), ("bias", bias))
    ]
    geometry = ([1, 1], [0, 0], [1, 1], channels)
    with node.graph.inserting_before(node):
        made = node.graph.call_function(aten.conv2d.default, (source, *reads, *geometry))
    made.meta = {**node.meta, "val": source.meta["val"]}
    return made


def _read(module: fx.GraphModule, origin: fx.Node, name: str, tensor: Tensor) -> fx.Node:
    read = new_tensor(module, origin, name, tensor)
    read.meta["name"] = str(read.target)
    return read


RULE = Rewrite("hardsigmoid to layer", match, rewrite)
