"""Every array of a layer once, with what a reader must know of it: the files say the same."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from deployq.arithmetic.contract import Accumulator
from deployq.arithmetic.rounding import Int64Array
from deployq.qgraph.nodes import Linear
from deployq.qparams import IntArray, QParams
from deployq_exporters.golden.counting import number_bits
from deployq_exporters.golden.scaling import Scaling
from deployq_exporters.golden.trace import Layer, Trace

SUM_BITS = (32, 64)
LAYOUTS = {"Conv": "OIHW", "ConvTranspose": "OIHW", "Gemm": "KN", "MatMul": "KN"}
PARTS = ("", "_a", "_b")
"""Of the multipliers of Add: of the sum, and of each operand."""


@dataclass(frozen=True, eq=False)
class Item:
    """One array of integers.

    Args:
        name: inside the layer.
        values: integers.
        bits: of one stored value.
        is_signed: two's complement.
        layout: letters of the axes of a weight.
        is_weight: packed as the memory holds weights.
    """

    name: str
    values: IntArray
    bits: int
    is_signed: bool = True
    layout: str = ""
    is_weight: bool = False


def layer_items(layer: Layer, trace: Trace) -> Iterator[Item]:
    """The arrays of a layer: constants, then those of each set of vectors."""
    node, plan = layer.node, layer.plan
    if isinstance(node, Linear):
        yield from _of_linear(node)
    if plan.table is not None:
        yield Item("table", plan.table, layer.out.qtype.container.bits, layer.out.qtype.signed)
    suffixes = PARTS if plan.op != "concat" else [f"_{i}" for i in range(len(plan.scalings))]
    for suffix, scaling in zip(suffixes, plan.scalings, strict=False):
        if scaling.counted is not None:
            held = scaling.counted.held(trace.accumulator)
            yield Item("thresholds", held, number_bits(held))
        else:
            yield from _of_scaling(suffix, scaling)
    if plan.numbers is not None:
        yield Item("real_mantissa", plan.numbers.mantissa, 64)
        yield Item("real_shift", plan.numbers.shift, 16)
    if plan.counts.size:
        yield Item("count", plan.counts, 32, False)
    bits = sum_bits(trace.accumulator)
    for vectors in layer.vectors:
        operands = zip(vectors.inputs, layer.inputs, strict=bool(vectors.inputs))
        for index, (codes, qparams) in enumerate(operands):
            yield _of_codes(f"{vectors.source}.input{index}", codes, qparams)
        if vectors.sums is not None:
            yield Item(f"{vectors.source}.sum", vectors.sums, bits)
        yield _of_codes(f"{vectors.source}.output", vectors.output, layer.out)


def sum_bits(accumulator: Accumulator) -> int:
    """Of a stored sum: the least of 32 and 64 that holds the accumulator."""
    return next(bits for bits in SUM_BITS if bits >= accumulator.bits)


def _of_linear(node: Linear) -> Iterator[Item]:
    qtype, layout = node.weight_qparams.qtype, LAYOUTS[node.op_type]
    yield Item("weight", node.weight, qtype.container.bits, qtype.signed, layout, is_weight=True)
    zeros = np.atleast_1d(node.weight_qparams.zero_point)
    yield Item("weight_zero_point", zeros, qtype.container.bits, qtype.signed)
    if node.bias is not None:
        yield Item("bias", node.bias, number_bits(node.bias))


def _of_scaling(suffix: str, scaling: Scaling) -> Iterator[Item]:
    if scaling.before is not None:
        yield from _of_scaling(f"{suffix}_before", scaling.before)
    yield Item(f"multiplier{suffix}", scaling.mantissa, _mantissa_bits(scaling.mantissa), False)
    yield Item(f"shift{suffix}", scaling.shift, 16)
    if scaling.folded is not None:
        yield Item(f"folded_zero_point{suffix}", scaling.folded, 64)
    if scaling.late is not None:
        bits = 64 if scaling.precision else number_bits(scaling.late.mantissa)
        yield Item("bias", scaling.late.mantissa, bits)
        if scaling.precision:
            yield Item("bias_shift", scaling.late.shift, 16)
    for name, reals in (("divisor", scaling.divisor), ("inner", scaling.inner)):
        if reals is not None:
            yield Item(f"{name}{suffix}", reals.mantissa, 64)
            yield Item(f"{name}_shift{suffix}", reals.shift, 16)


def _mantissa_bits(mantissa: Int64Array) -> int:
    return 32 if int(mantissa.max(initial=0)) < 1 << 32 else 64


def _of_codes(name: str, codes: IntArray, qparams: QParams) -> Item:
    container = qparams.qtype.container
    return Item(name, codes, container.bits, container.signed)
