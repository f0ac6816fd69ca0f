"""The tensor that shifts the output of a linear layer: beta, bias, or a new bias."""

from __future__ import annotations

import torch
from torch import Tensor, fx, nn

from deployq.graph.layer_placement import count_reads
from deployq.graph.tensors import attach, read_tensor
from deployq_calibration.corrections.blocks import unit_of

BIAS, BETA = 2, 4
"""Positions among the arguments of a linear unit."""


def own_bias(module: fx.GraphModule, node: fx.Node) -> Tensor | None:
    """What to add to so that each output channel of a layer is shifted.

    Args:
        module: of a prepared model.
        node: call of a linear unit.

    Returns:
        (C,) beta of a BatchNorm or bias; None where there is none, or another layer reads it.
    """
    source = node.args[_position(node)]
    if not isinstance(source, fx.Node):
        return None
    tensor = read_tensor(module, source)
    return tensor if count_reads(module)[id(tensor)] == 1 else None


def make_bias(module: fx.GraphModule, node: fx.Node) -> Tensor | None:
    """As :func:`own_bias`; a layer without one gets zeros, named after its weight."""
    position = _position(node)
    if isinstance(node.args[position], fx.Node):
        return own_bias(module, node)
    return _new(module, node, position)


def _position(node: fx.Node) -> int:
    return BETA if len(node.args) > BIAS + 1 else BIAS


def _new(module: fx.GraphModule, node: fx.Node, position: int) -> Tensor:
    weight_node = node.args[1]
    assert isinstance(weight_node, fx.Node)
    weight = read_tensor(module, weight_node)
    name = _free(module, str(weight_node.target).rpartition(".")[0])
    bias = nn.Parameter(torch.zeros(unit_of(module, node).outputs(weight), device=weight.device))
    attach(module, name, bias)
    with module.graph.inserting_before(node):
        made = module.graph.get_attr(name)
    node.update_arg(position, made)
    module.recompile()
    return bias


def _free(module: fx.GraphModule, owner: str) -> str:
    """A name that no tensor and no module has."""
    taken = {*module.state_dict(), *dict(module.named_modules())}
    name = f"{owner}.bias" if owner else "bias"
    while name in taken:
        name += "_"
    return name
