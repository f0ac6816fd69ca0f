"""x * c, x / c, x + c, x - c and c - x with a constant for each channel, or for all of them, become
a depthwise 1x1 convolution of (N, C, H, W).

It has an integer form everywhere, and a scale for each channel where the target has them. Equal up
to float32 rounding. The constants become parameters of the convolution.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, fx, nn

from deployq.graph.rewrites.rule import Rewrite, calls, replace
from deployq.graph.tensors import attach, read_tensor

aten = torch.ops.aten
MADE = "deployq_constant"
"""Marks the convolutions that this rewrite made."""
OPERATORS = (
    aten.add.Tensor,
    aten.sub.Tensor,
    aten.mul.Tensor,
    aten.div.Tensor,
    aten.rsub.Scalar,
)


def match(module: fx.GraphModule, node: fx.Node) -> bool:
    if not calls(node, *OPERATORS) or node.kwargs or len(node.args) != 2:
        return False
    sources = [a for a in node.args if isinstance(a, fx.Node) and a.op != "get_attr"]
    if len(sources) != 1 or (calls(node, aten.div.Tensor) and node.args[0] is not sources[0]):
        return False
    value = sources[0].meta.get("val")
    if not isinstance(value, Tensor) or value.ndim != 4 or not value.is_floating_point():
        return False
    if not isinstance(value.shape[1], int):  # a permutation may put the samples there
        return False
    other = _constant(module, node, sources[0])
    return other is not None and _per_channel(other, int(value.shape[1])) is not None


def _constant(module: fx.GraphModule, node: fx.Node, source: fx.Node) -> Tensor | None:
    """The other operand; None where it is no number and no float tensor."""
    other: Any = next(a for a in node.args if a is not source)
    if isinstance(other, fx.Node):
        tensor = read_tensor(module, other).detach()
        return tensor if tensor.is_floating_point() else None
    return torch.tensor(float(other)) if isinstance(other, (int, float)) else None


def _per_channel(constant: Tensor, channels: int) -> Tensor | None:
    """(channels,) values of a constant that broadcasts to them and to nothing else."""
    if constant.numel() == 1:
        return constant.reshape(1).expand(channels).clone()
    if constant.ndim < 3 or constant.numel() != channels or constant.shape[-3] != channels:
        return None
    return constant.reshape(channels).clone()


def rewrite(module: fx.GraphModule, node: fx.Node) -> None:
    (source,) = [a for a in node.args if isinstance(a, fx.Node) and a.op != "get_attr"]
    constant = _constant(module, node, source)
    assert constant is not None
    channels = int(source.meta["val"].shape[1])
    values = _per_channel(constant, channels)
    assert values is not None
    weight, bias = _weight_and_bias(node, source, values)
    if source.meta.get(MADE) and len(source.users) == 1:  # one convolution does for a chain
        source, weight, bias = _after(module, source, weight, bias)
    operands = [_parameter(module, node, "weight", weight.view(-1, 1, 1, 1))]
    operands.append(None if bias is None else _parameter(module, node, "bias", bias))
    rest = ([1, 1], [0, 0], [1, 1], channels)
    part = node.target.__name__.split(".")[0]  # type: ignore[union-attr] # an overload
    made = replace(node, aten.conv2d.default, (source, *operands, *rest))
    made.meta |= {MADE: True, "part": part}


def _after(
    module: fx.GraphModule, first: fx.Node, weight: Tensor, bias: Tensor | None
) -> tuple[fx.Node, Tensor, Tensor | None]:
    """The input of an earlier convolution of this kind, and weight and bias of both together."""
    source, earlier, offset = first.args[:3]
    assert isinstance(source, fx.Node)
    if isinstance(offset, fx.Node):
        moved = read_tensor(module, offset).detach() * weight
        bias = moved if bias is None else moved + bias
    return source, read_tensor(module, earlier).detach().reshape(-1) * weight, bias


def _weight_and_bias(
    node: fx.Node, source: fx.Node, values: Tensor
) -> tuple[Tensor, Tensor | None]:
    ones = torch.ones_like(values)
    if calls(node, aten.mul.Tensor):
        return values, None
    if calls(node, aten.div.Tensor):
        return 1.0 / values, None
    if calls(node, aten.add.Tensor):
        return ones, values
    first = node.args[0] is source
    if calls(node, aten.rsub.Scalar) or not first:  # c - x
        return -ones, values
    return ones, -values


def _parameter(module: fx.GraphModule, node: fx.Node, kind: str, value: Tensor) -> Any:
    name = f"{node.name}_depthwise_{kind}"
    attach(module, name, nn.Parameter(value))
    with node.graph.inserting_before(node):
        read = node.graph.get_attr(name)
    read.meta["val"] = value
    return read


RULE = Rewrite("constant to depthwise convolution", match, rewrite)
