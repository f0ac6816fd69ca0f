"""ATen calls on codes: how the reference computes what is not a linear layer."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn

from deployq.arithmetic.contract import Contract, Form
from deployq.arithmetic.geometry import PoolGeometry
from deployq.arithmetic.kernels import concat, elementwise, pooling
from deployq.errors import UnsupportedError
from deployq.graph.operators import aten
from deployq.graph.rewrites.rule import argument, calls
from deployq.qparams import QParams

Bounds = tuple[int, int]


@dataclass(frozen=True)
class Codes:
    """Integers with their meaning."""

    data: Tensor
    qparams: QParams


@dataclass(frozen=True)
class Pending:
    """An integer operator that waits for its output's parameters; a clamp may narrow it."""

    name: str
    finish: Callable[[QParams, Bounds], Tensor]
    low: float = float("-inf")
    high: float = float("inf")


def pool_geometry(node: fx.Node) -> PoolGeometry:
    """Kernel, strides and pads of ``max_pool2d`` and ``avg_pool2d`` calls."""
    kernel = _pair(node.args[1])
    stride = argument(node, 2, "stride")
    pad = _pair(argument(node, 3, "padding", 0))
    average = calls(node, aten.avg_pool2d.default)
    dilation = 1 if average else argument(node, 4, "dilation", 1)
    ceil = argument(node, 4 if average else 5, "ceil_mode", False)
    if ceil or _pair(dilation) != (1, 1):
        raise UnsupportedError(
            str(node.meta.get("name", node.name)), "a pool has no dilation and rounds its size down",
            found=f"dilation {dilation}, ceil_mode {ceil}", allowed="dilation 1, ceil_mode False",
            next_step="pad the input instead",
        )
    include = average and bool(argument(node, 5, "count_include_pad", True))
    return PoolGeometry(kernel, _pair(stride) if stride else kernel, pad + pad, include)


def _pair(value: Any) -> tuple[int, int]:
    values = (value, value) if isinstance(value, int) else tuple(value)
    return (values[0], values[-1])


def move(node: fx.Node, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Codes:
    """A movement operator on integers; padding adds the zero point."""
    value = args[0]
    if node.op == "call_module":  # Dropout, in evaluation
        return value  # type: ignore[no-any-return] # Codes by construction
    if calls(node, aten.max_pool2d.default):
        return Codes(pooling.max_pool(value.data, pool_geometry(node)), value.qparams)
    if calls(node, aten.pad.default):
        zero_point = int(value.qparams.zero_point)
        return Codes(nn.functional.pad(value.data, args[1], value=zero_point), value.qparams)
    data: Tensor = node.target(value.data, *args[1:], **kwargs)  # type: ignore[operator] # an ATen overload
    return Codes(data, value.qparams)


def compute(operator: str, contract: Contract, node: fx.Node, args: Sequence[Any]) -> Pending:
    """A computing operator whose operands are codes."""
    name = str(node.meta.get("name", node.name))
    operands = args[0] if isinstance(args[0], (list, tuple)) else [a for a in args if _is_value(a)]
    if not all(isinstance(value, Codes) for value in operands):
        raise UnsupportedError(
            name, "an integer operator reads codes", found=f"{operator} of a float value",
            next_step="prepare the model again",
        )
    form = contract.form(operator)
    return Pending(name, _FINISH[operator](node, operands, form))


def _is_value(value: Any) -> bool:
    return isinstance(value, (Codes, Pending, torch.Tensor))


Finish = Callable[[QParams, Bounds], Tensor]


def _binary(function: Callable[..., Tensor]) -> Callable[[fx.Node, Sequence[Codes], Form], Finish]:
    def build(node: fx.Node, operands: Sequence[Codes], form: Form) -> Finish:
        a, b = operands
        return lambda out, bounds: function(
            a.data, a.qparams, b.data, b.qparams, out, form, bounds=bounds
        )

    return build


def _global_pool(node: fx.Node, operands: Sequence[Codes], form: Form) -> Finish:
    (x,) = operands
    return lambda out, bounds: pooling.global_average_pool(
        x.data, x.qparams, out, form, bounds=bounds
    )


def _average_pool(node: fx.Node, operands: Sequence[Codes], form: Form) -> Finish:
    (x,), geometry = operands, pool_geometry(node)
    return lambda out, bounds: pooling.average_pool(
        x.data, x.qparams, out, form, geometry, bounds=bounds
    )


def _concat(node: fx.Node, operands: Sequence[Codes], form: Form) -> Finish:
    axis = argument(node, 1, "dim", 0)
    parts = [(value.data, value.qparams) for value in operands]
    return lambda out, bounds: concat.concat(parts, out, axis, form)


_FINISH: dict[str, Callable[[fx.Node, Sequence[Codes], Form], Finish]] = {
    "Add": _binary(elementwise.add),
    "Mul": _binary(elementwise.mul),
    "GlobalAveragePool": _global_pool,
    "AveragePool": _average_pool,
    "Concat": _concat,
}
