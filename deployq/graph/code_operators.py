"""ATen calls on codes: how the reference computes what is not a linear layer."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias, cast

import numpy as np
from torch import Tensor, fx, nn

from deployq import affine
from deployq.arithmetic.contract import Accumulator, Form
from deployq.arithmetic.form_names import function_form_name, pool_form_name, product_form_name
from deployq.arithmetic.geometry import PoolGeometry
from deployq.arithmetic.kernels import (
    concat,
    elementwise,
    linear,
    lookup,
    pooling,
    resize,
    row_norms,
    softmax,
)
from deployq.arithmetic.kernels.codes import torch_dtype
from deployq.arithmetic.kernels.requantize import fit_accumulator, real_sums, requantize
from deployq.arithmetic.oracle.lookup import DEFAULT_PARAMS, UnaryParams
from deployq.arithmetic.row_norms import RowNorm
from deployq.graph.operators import COMPUTE, aten, clamp_bounds, unary_params
from deployq.graph.rewrites.rule import argument, calls
from deployq.qparams import FloatArray, QParams

Bounds: TypeAlias = tuple[int, int]
Finish: TypeAlias = Callable[[QParams, Bounds, Form], Tensor]
"""Codes on an output grid, inside bounds, in one form of arithmetic."""


@dataclass(frozen=True)
class Codes:
    """Integers with their meaning."""

    data: Tensor
    qparams: QParams


@dataclass(frozen=True)
class Pending:
    """An integer operator that waits for its output's parameters.

    Args:
        operator: by which a contract names its form.
        finish: the last step.
        low, high: real bounds of the clamps that followed.
        bits: of its widest operand.
        joined: of a layer, the last step where codes of the same shape join its sums.
        reals: of a product, what its sums stand for, float32.
    """

    operator: str
    finish: Finish
    low: float = float("-inf")
    high: float = float("inf")
    bits: int = 0
    joined: Callable[[Codes], Finish] | None = None
    reals: Callable[[], Tensor] | None = None

    def clamped(self, low: float, high: float) -> Pending:
        """The same, inside narrower real bounds."""
        return replace(self, low=max(self.low, low), high=min(self.high, high))

    def with_sum(self, addend: Codes) -> Pending:
        """The same layer, with codes that join its sums."""
        assert self.joined is not None, f"{self.operator} is no layer that a sum joins"
        return replace(self, finish=self.joined(addend), joined=None)


def pool_geometry(node: fx.Node) -> PoolGeometry:
    """Kernel, strides and pads of ``max_pool2d`` and ``avg_pool2d`` calls."""
    kernel = _pair(node.args[1])
    stride = argument(node, 2, "stride")
    pad = _pair(argument(node, 3, "padding", 0))
    average = calls(node, aten.avg_pool2d.default)
    include = average and bool(argument(node, 5, "count_include_pad", True))
    return PoolGeometry(kernel, _pair(stride) if stride else kernel, pad + pad, include)


def _pair(value: Any) -> tuple[int, int]:
    values = (value, value) if isinstance(value, int) else tuple(value)
    return (values[0], values[-1])


def move(node: fx.Node, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Codes:
    """A movement operator on integers; padding adds the code of its constant."""
    value: Codes = args[0]
    if node.op == "call_module":  # Dropout, in evaluation
        return value
    if calls(node, aten.max_pool2d.default):
        return Codes(pooling.max_pool(value.data, pool_geometry(node)), value.qparams)
    if calls(node, aten.pad.default):
        return Codes(_pad(node, value), value.qparams)
    if calls(node, aten.upsample_nearest2d.vec):
        return Codes(resize.nearest_resize(value.data, args[1]), value.qparams)
    overload = cast(Callable[..., Tensor], node.target)
    return Codes(overload(value.data, *args[1:], **kwargs), value.qparams)


def _pad(node: fx.Node, value: Codes) -> Tensor:
    mode, real = argument(node, 2, "mode", "constant"), argument(node, 3, "value") or 0.0
    amounts: Any = node.args[1]
    if mode != "constant":
        # reflection is not there for integers: float64 holds every code
        padded = nn.functional.pad(value.data.double(), amounts, mode)
        return padded.to(value.data.dtype)
    code = int(affine.quantize(np.asarray(real, np.float32), value.qparams))
    return nn.functional.pad(value.data, amounts, value=code)


def compute(node: fx.Node, operands: Sequence[Codes], accumulator: Accumulator) -> Pending:
    """A computing operator on codes; sums of products stay inside an accumulator.

    Raises:
        AccumulatorOverflowError: a sum of a matrix product leaves it.
    """
    operator = COMPUTE[node.target]
    bits = max(operand.qparams.qtype.bits for operand in operands)
    if operator == "MatMul":
        name = product_form_name(shifted=operands[1].qparams.is_shifted)
        finish, reals = _matmul(node, operands, accumulator)
        return Pending(name, finish, bits=bits, reals=reals)
    return Pending(compute_form(node), _FINISH[operator](node, operands), bits=bits)


def compute_form(node: fx.Node) -> str:
    """What a contract has the form of a computing call under; see ``form_names``."""
    operator = COMPUTE[node.target]
    return pool_form_name(operator, pool_geometry(node)) if operator == "AveragePool" else operator


def softmax_of(value: Codes) -> Pending:
    """Softmax over the last axis of codes."""

    def finish(out: QParams, bounds: Bounds, form: Form) -> Tensor:
        return softmax.softmax(value.data, value.qparams, out, form, bounds=bounds)

    return Pending("Softmax", finish)


def row_norm_of(node: fx.Node, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Pending:
    """LayerNorm or RMSNorm over the last axis of codes, its scale and bias in float32."""
    value: Codes = args[0]
    norm = _row_norm(node, {**dict(zip(_ROW_NORMS[node.target], args, strict=False)), **kwargs})

    def finish(out: QParams, bounds: Bounds, form: Form) -> Tensor:
        return row_norms.normalize(value.data, value.qparams, out, form, norm, bounds=bounds)

    return Pending(norm.op_type, finish)


_ROW_NORMS: dict[Any, tuple[str, ...]] = {
    aten.layer_norm.default: ("x", "normalized_shape", "weight", "bias", "eps"),
    aten.rms_norm.default: ("x", "normalized_shape", "weight", "eps"),
}


def _row_norm(node: fx.Node, given: Mapping[str, Any]) -> RowNorm:
    """The numbers of a call; RMSNorm without an epsilon takes that of float32."""
    (length,), epsilon = given["normalized_shape"], given.get("eps")
    centred = calls(node, aten.layer_norm.default)
    default = 1e-5 if centred else float(np.finfo(np.float32).eps)
    scale, bias = (_numbers(given.get(name)) for name in ("weight", "bias"))
    return RowNorm(
        "LayerNormalization" if centred else "RMSNormalization",
        np.ones(length, np.float32) if scale is None else scale,
        bias,
        default if epsilon is None else float(epsilon),
    )


def _numbers(value: Tensor | None) -> FloatArray | None:
    return None if value is None else value.detach().cpu().numpy().astype(np.float32)


def unary(node: fx.Node, function: str, value: Codes | Pending) -> Pending:
    """A function of one value: a clamp narrows a waiting operator, others are tables over codes."""
    bounds = clamp_bounds(node)
    if isinstance(value, Pending):
        assert bounds is not None, f"{node.name}: a quantizer stands before every other function"
        return value.clamped(*bounds)
    return table_of(function, value, unary_params(node))


def table_of(function: str, value: Codes, params: UnaryParams = DEFAULT_PARAMS) -> Pending:
    """A function of one value, as a table over codes."""

    def finish(out: QParams, _: Bounds, form: Form) -> Tensor:
        table = lookup.lookup_table(function, value.qparams, out, params=params, form=form)
        narrow = table.to(torch_dtype(out.qtype))
        return lookup.apply_table(value.data, value.qparams.qtype, narrow)

    return Pending(function_form_name(function), finish)


def _binary(function: Callable[..., Tensor]) -> Callable[[fx.Node, Sequence[Codes]], Finish]:
    def build(node: fx.Node, operands: Sequence[Codes]) -> Finish:
        a, b = operands
        return lambda out, bounds, form: function(
            a.data, a.qparams, b.data, b.qparams, out, form, bounds=bounds
        )

    return build


def _matmul(
    node: fx.Node, operands: Sequence[Codes], accumulator: Accumulator
) -> tuple[Finish, Callable[[], Tensor]]:
    """(..., M, K) times (..., K, N), both on grids of their own: to codes, and in reals."""
    (a, qa), (b, qb) = ((operand.data, operand.qparams) for operand in operands)
    acc = linear.matmul_sums(a, int(qa.zero_point), b, int(qb.zero_point))
    acc = fit_accumulator(acc, accumulator, str(node.meta["name"]), channel_axis=-1)
    scales = qa.scale[()], qb.scale[()]
    return (
        lambda out, bounds, form: requantize(
            acc.clone(), *scales, out, form, channel_axis=-1, bounds=bounds
        ),  # a clone: two grids may wait for it
        lambda: real_sums(acc, *scales, channel_axis=-1),
    )


def _global_pool(node: fx.Node, operands: Sequence[Codes]) -> Finish:
    (x,) = operands
    return lambda out, bounds, form: pooling.global_average_pool(
        x.data, x.qparams, out, form, bounds=bounds
    )


def _average_pool(node: fx.Node, operands: Sequence[Codes]) -> Finish:
    (x,), geometry = operands, pool_geometry(node)
    return lambda out, bounds, form: pooling.average_pool(
        x.data, x.qparams, out, form, geometry, bounds=bounds
    )


def _concat(node: fx.Node, operands: Sequence[Codes]) -> Finish:
    axis = argument(node, 1, "dim", 0)
    parts = [(value.data, value.qparams) for value in operands]
    return lambda out, bounds, form: concat.concat(parts, out, axis, form).clamp(*bounds)


_FINISH: dict[str, Callable[[fx.Node, Sequence[Codes]], Finish]] = {
    "Add": _binary(elementwise.add),
    "Mul": _binary(elementwise.mul),
    "GlobalAveragePool": _global_pool,
    "AveragePool": _average_pool,
    "Concat": _concat,
}
