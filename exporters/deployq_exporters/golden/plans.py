"""What each integer node computes, in the integers that its C function takes.

The formulas are those of ``deployq.arithmetic.oracle``; the numbers come from its own helpers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from deployq.arithmetic.codes import Bounds, clip_range, code_offset, scale_and_zero
from deployq.arithmetic.contract import Form, Kind
from deployq.arithmetic.folding import folded_zero
from deployq.arithmetic.layer_scales import LayerScales
from deployq.arithmetic.multiplier import FixedMultiplier
from deployq.arithmetic.oracle.lookup import lookup_table
from deployq.arithmetic.requant_words import Addition, Product, Rescaling, ZeroPointPlace
from deployq.arithmetic.rounding import Float64Array
from deployq.arithmetic.scales import (
    add_constants,
    kernel_zero,
    layer_multiplier,
    mul_multiplier,
    rescale_real,
)
from deployq.errors import UnsupportedError
from deployq.qgraph.nodes import (
    Concat,
    Elementwise,
    Linear,
    Lookup,
    MatMul,
    Move,
    Node,
    Pool,
    Rescale,
    RowNormalization,
    Softmax,
)
from deployq.qparams import IntArray, QParams
from deployq_exporters.golden.add_plans import add_scalings
from deployq_exporters.golden.counting import Counted
from deployq_exporters.golden.lane_plans import lane_product, lane_rescale
from deployq_exporters.golden.pool_plans import mean_counts, mean_scaling
from deployq_exporters.golden.scaling import (
    FLOAT32,
    FLOAT64,
    Scaling,
    binary,
    check_normal,
    kept,
    of_ratio,
    of_real,
)
from deployq_exporters.golden.softmax_plans import exponentials, no_rows

Shape = tuple[int, ...]
Shapes = Sequence[Shape]


@dataclass(frozen=True, eq=False, kw_only=True)
class Plan:
    """One operator in integers.

    Args:
        op: C enumerator without its prefix, in lower case.
        clip: lowest and highest code of the output.
        zeros: what is taken off the codes of each operand.
        scalings: the last step first; the others are of operands.
        offset: what is added to a result in binary floats, which has no scaling.
        counts: cells of the windows that ``scalings[0]`` has a multiplier each for.
        keeps_zero: means are of the codes as they are.
        left_shift: bits that operands gain.
        precision: of sums in binary floats.
        numbers: real constants, in an order of the operator's own.
        table: codes of the output by code of the input, from the lowest on.
    """

    op: str
    clip: Bounds
    zeros: tuple[int, ...] = ()
    scalings: tuple[Scaling, ...] = ()
    offset: int = 0
    counts: IntArray = field(default_factory=lambda: np.zeros(0, np.int64))
    keeps_zero: bool = False
    left_shift: int = 0
    precision: int = 0
    numbers: FixedMultiplier | None = None
    table: IntArray | None = None

    @property
    def low(self) -> int:
        return self.clip[0]

    @property
    def high(self) -> int:
        return self.clip[1]


def plan(
    node: Node,
    inputs: Sequence[QParams],
    out: QParams,
    form: Form,
    shapes: Shapes,
    late: Float64Array | None = None,
) -> Plan:
    """The plan of a node.

    Args:
        node: with the bias that its sums hold.
        inputs, out: parameters of its code tensors.
        form: of its operator.
        shapes: of its operands.
        late: (O,) reals of a bias that is added after the multiplication.

    Raises:
        UnsupportedError: what cannot be written in integers; the message says what.
        QuantizationError: the form cannot express a multiplier.
    """
    if form.sum_cut:
        raise UnsupportedError(
            f"{node.name} ({node.op_type})",
            "vectors hold a multiplication of whole sums",
            found=f"sum_cut = {form.sum_cut}",
            allowed="0",
            next_step="give the layer codes of 8 bits",
        )
    made = _PLANS[type(node)](node, inputs, out, form, shapes)
    if late is None:
        return made
    return replace(made, scalings=(made.scalings[0].with_late(late, out, form),))


def _zero(qparams: QParams) -> int:
    return scale_and_zero(qparams, "operand")[1]


def _bounds(node: Node, out: QParams) -> Bounds:
    return clip_range(out, node.bounds)


def _product(
    node: Any, inputs: Sequence[QParams], out: QParams, form: Form, shapes: Shapes
) -> Plan:
    qx = inputs[0]
    qw = node.weight_qparams if isinstance(node, Linear) else inputs[1]
    real = layer_multiplier(1, 0, scale_and_zero(qx, "input")[0], qw.scale, out, form)
    last = of_real(real, form, post_shift=form.post_shift)
    if form.kind is Kind.THRESHOLDS:
        x_scale = scale_and_zero(qx, "input")[0]
        made = Counted.of(x_scale, qw.scale, out, _bounds(node, out), form.rounding)
        last = replace(last, counted=made, rounding=form.rounding.value)
    if form.folds_zero:
        bias = node.bias if isinstance(node, Linear) else None
        layer = LayerScales(scale_and_zero(qx, "input")[0], qw.scale, out, 1, 0)
        folded = np.atleast_1d(folded_zero(layer, form, bias))
        last = replace(last.of_channels(folded.size), folded=folded)
    else:
        last = last.with_offset(_zero(out))
    op = {"Conv": "conv", "ConvTranspose": "conv_transpose"}.get(node.op_type, "gemm")
    op = op if isinstance(node, Linear) else "matmul"
    zeros = tuple(_zero(q) for q in inputs)
    return Plan(op=op, zeros=zeros, scalings=(last,), clip=_bounds(node, out))


def _elementwise(
    node: Elementwise, inputs: Sequence[QParams], out: QParams, form: Form, shapes: Shapes
) -> Plan:
    bounds, (qa, qb) = _bounds(node, out), inputs
    zeros = (_zero(qa), _zero(qb))
    if node.op_type == "Mul":
        return Plan(op="mul", zeros=zeros, scalings=(_mul(qa, qb, out, form),), clip=bounds)
    if form.kind in (Kind.FIXED, Kind.SHIFT):
        left_shift, scalings = add_scalings(qa, qb, out, form)
        if form.addition is Addition.CUT_SUM and form.kind is Kind.FIXED:
            zeros = (0, 0)  # they join behind the cut
        return Plan(op="add", zeros=zeros, scalings=scalings, left_shift=left_shift, clip=bounds)
    if form.kind is Kind.EXACT:
        scales = binary([float(q.scale) for q in (qa, qb, out)])
        return Plan(op="add_float", zeros=zeros, offset=_zero(out), precision=FLOAT64,
                    numbers=scales, clip=bounds)  # fmt: skip
    ra, rb, constant = add_constants(qa, qb, out, form)
    swapped = add_constants(qb, qa, out, form)[2]
    check_normal(np.array([ra, rb]))
    zeros = (-code_offset(qa, form), -code_offset(qb, form))
    numbers = binary(np.array([ra, rb, constant, swapped], np.float64))
    return Plan(op="add_float", zeros=zeros, offset=-code_offset(out, form), precision=FLOAT32,
                numbers=numbers, clip=bounds)  # fmt: skip


def _mul(qa: QParams, qb: QParams, out: QParams, form: Form) -> Scaling:
    if form.product is Product.CENTRED and form.kind in (Kind.FIXED, Kind.SHIFT):
        return lane_product(qa, qb, out, form)
    last = of_real(mul_multiplier(qa, qb, out, form), form)
    if form.kind is not Kind.FLOAT32 or form.zero_point is ZeroPointPlace.AFTER_ROUNDING:
        return last.with_offset(_zero(out))
    inner = binary(np.atleast_1d(kernel_zero(out, form)))
    return replace(last, inner=inner, offset=-code_offset(out, form))


def _pool(node: Pool, inputs: Sequence[QParams], out: QParams, form: Form, shapes: Shapes) -> Plan:
    (qx,), size, bounds = inputs, (shapes[0][2], shapes[0][3]), _bounds(node, out)
    geometry = node.geometry
    if node.op_type == "MaxPool":
        return Plan(op="max_pool", zeros=(0,), clip=bounds)
    whole = geometry is None or geometry.covers(size)
    if form.kind is Kind.FLOAT32 and not whole:
        numbers = np.array([qx.scale, out.scale, kernel_zero(out, form)], np.float64)
        check_normal(numbers[:2])
        return Plan(op="mean_pool_float", zeros=(_zero(qx),), numbers=binary(numbers),
                    offset=-code_offset(out, form), clip=bounds)  # fmt: skip
    counts = mean_counts(geometry, size)
    scaling, keeps_zero = mean_scaling(qx, out, counts, form)
    return Plan(op="mean_pool", zeros=(_zero(qx),), scalings=(scaling,), counts=counts,
                keeps_zero=keeps_zero, clip=bounds)  # fmt: skip


def _concat(
    node: Concat | Rescale, inputs: Sequence[QParams], out: QParams, form: Form, shapes: Shapes
) -> Plan:
    scalings = tuple(kept(_zero(out)) if qx == out else _moved(qx, out, form) for qx in inputs)
    return Plan(op="concat", zeros=tuple(_zero(q) for q in inputs), scalings=scalings,
                clip=_bounds(node, out))  # fmt: skip


def _moved(qx: QParams, out: QParams, form: Form) -> Scaling:
    (sx, _), (sy, zero) = scale_and_zero(qx, "input"), scale_and_zero(out, "output")
    if form.kind not in (Kind.FIXED, Kind.SHIFT):
        return of_ratio(sx, sy, form).with_offset(zero)
    if form.rescaling is not Rescaling.ONCE:
        return lane_rescale(qx, out, form)
    return of_real(rescale_real(sx, sy, form), form).with_offset(zero)


def _lookup(
    node: Lookup, inputs: Sequence[QParams], out: QParams, form: Form, shapes: Shapes
) -> Plan:
    table = lookup_table(node.op_type, inputs[0], out, params=node.params, form=form)
    return Plan(op="lookup", table=table, clip=_bounds(node, out))


def _softmax(
    node: Softmax, inputs: Sequence[QParams], out: QParams, form: Form, shapes: Shapes
) -> Plan:
    precision, numbers = exponentials(inputs[0], out, form, shapes[0][-1])
    return Plan(op="softmax", offset=_zero(out), numbers=numbers, precision=precision,
                clip=_bounds(node, out))  # fmt: skip


def _normalization(
    node: RowNormalization, inputs: Sequence[QParams], out: QParams, form: Form, shapes: Shapes
) -> Plan:
    raise no_rows(node.op_type, f"normalization = {form.normalization}")


def _move(node: Move, inputs: Sequence[QParams], out: QParams, form: Form, shapes: Shapes) -> Plan:
    container = out.qtype.container
    return Plan(op="move", clip=node.bounds or (container.qmin, container.qmax))


_PLANS: dict[type[Node], Callable[[Any, Sequence[QParams], QParams, Form, Shapes], Plan]] = {
    Linear: _product,
    MatMul: _product,
    Elementwise: _elementwise,
    Pool: _pool,
    Concat: _concat,
    Rescale: _concat,
    Lookup: _lookup,
    Softmax: _softmax,
    RowNormalization: _normalization,
    Move: _move,
}
