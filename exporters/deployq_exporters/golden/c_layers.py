"""The constants of one layer in C."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from deployq.arithmetic.contract import Accumulator
from deployq.arithmetic.multiplier import FixedMultiplier
from deployq.qgraph.nodes import Concat, Linear, Move, Pool
from deployq.qgraph.ranges import pad_code
from deployq_exporters.golden.c_text import CSource, braces, initializer, quoted, stored
from deployq_exporters.golden.counting import Counted, number_bits
from deployq_exporters.golden.moves import axis_moves
from deployq_exporters.golden.scaling import Scaling, spread
from deployq_exporters.golden.trace import Layer, Trace
from deployq_exporters.golden.weights import stored_weight

Fields = dict[str, Any]


def define_layer(source: CSource, index: int, layer: Layer, trace: Trace) -> tuple[str, int]:
    """Defines a layer; returns its address and the number of its weights."""
    name, plan = f"layer_{index}", layer.plan
    fields: Fields = {
        "name": quoted(layer.node.name), "op": f"DQ_{plan.op.upper()}", "low": plan.low,
        "high": plan.high, "offset": plan.offset, "left_shift": plan.left_shift,
        "precision": plan.precision, "keeps_zero": int(plan.keeps_zero),
    }  # fmt: skip
    if plan.zeros:
        fields["zeros"] = source.array("int64_t", f"{name}_zeros", plan.zeros)
    if plan.scalings:
        fields["scalings"] = _scalings(source, name, plan.scalings, trace.accumulator)
    if plan.counts.size:
        fields["counts"] = source.array("int32_t", f"{name}_counts", plan.counts)
        fields["count_count"] = plan.counts.size
    if plan.numbers is not None:
        fields["numbers"] = numbers(source, f"{name}_numbers", plan.numbers)
        fields["number_count"] = plan.numbers.mantissa.size
    if plan.table is not None:
        fields["table"] = source.codes(f"{name}_table", plan.table, 32, True)
        fields["fill"] = layer.inputs[0].qtype.qmin
    fields |= _of_node(source, name, layer, trace)
    weights = layer.node.weight.size if isinstance(layer.node, Linear) else 0
    return source.struct("dq_layer", name, initializer(**fields)), weights


def numbers(source: CSource, name: str, reals: FixedMultiplier) -> str:
    """Defines real numbers; returns the array's name."""
    pairs = zip(reals.mantissa.tolist(), reals.shift.tolist(), strict=True)
    body = ", ".join(f"{{{mantissa}, {shift}}}" for mantissa, shift in pairs)
    source.lines.append(f"static const dq_number {name}[] = {{{body}}};")
    return name


def _of_node(source: CSource, name: str, layer: Layer, trace: Trace) -> Fields:
    node, shape = layer.node, layer.vectors[0].inputs[0].shape
    if isinstance(node, Linear):
        return _linear(source, name, node, trace)
    if isinstance(node, Pool):
        return _window(node)
    if isinstance(node, Concat):
        return {"axis": node.axis % len(shape)}
    if not isinstance(node, Move):
        return {}
    moves = axis_moves(node, shape)
    if moves is None:
        return {"op": "DQ_COPY"}
    arrays = [source.array("int32_t", f"{name}_axis_{i}", m.cells) for i, m in enumerate(moves)]
    fill = pad_code(node, layer.inputs[0]) if node.op_type == "Pad" else 0
    body = ", ".join(f"{{{m.axis}, {a}}}" for m, a in zip(moves, arrays, strict=True))
    source.lines.append(f"static const dq_move {name}_moves[] = {{{body}}};")
    return {"moves": f"{name}_moves", "fill": fill}


def _window(node: Pool) -> Fields:
    geometry = node.geometry
    if geometry is None:
        return {"strides": "{1, 1}", "dilations": "{1, 1}"}
    return {
        "kernel": braces(geometry.kernel), "strides": braces(geometry.strides),
        "pads": braces(geometry.pads[:2]), "dilations": "{1, 1}",
        "counts_pads": int(geometry.count_include_pad),
    }  # fmt: skip


def _linear(source: CSource, name: str, node: Linear, trace: Trace) -> Fields:
    weight, geometry = stored_weight(node, trace.packing), node.geometry
    if weight.planes is None:
        codes = source.codes(f"{name}_weight", weight.codes, weight.bits, weight.is_signed)
    else:
        source.array("uint8_t", f"{name}_weight", weight.planes)
        codes = stored(f"{name}_weight", weight.planes.size, 8, False)
    zeros = np.atleast_1d(node.weight_qparams.zero_point)
    fields: Fields = {
        "weight": initializer(
            codes=codes, planes=weight.bits if weight.planes is not None else 0,
            is_signed=int(weight.is_signed), outputs=weight.outputs, channels=weight.channels,
            cells=weight.cells, output_stride=weight.output_stride,
            channel_stride=weight.channel_stride, plane_output_stride=weight.plane_output_stride,
            plane_cell_stride=weight.plane_shape[2]),
        "weight_zeros": source.array("int32_t", f"{name}_weight_zeros", zeros),
        "weight_zero_count": zeros.size,
    }  # fmt: skip
    if node.bias is not None:
        fields["bias"] = source.codes(f"{name}_bias", node.bias, number_bits(node.bias), True)
    if node.weight.ndim == 4:
        fields |= {
            "kernel": braces(node.weight.shape[2:]), "strides": braces(geometry.strides),
            "pads": braces(geometry.pads[:2]), "dilations": braces(geometry.dilations),
            "groups": geometry.groups,
        }  # fmt: skip
    return fields


def _scalings(
    source: CSource, name: str, scalings: Sequence[Scaling], accumulator: Accumulator
) -> str:
    names = [f"{name}_scaling_{i}" for i in range(len(scalings))]
    texts = [
        _scaling(source, own, scaling)
        if scaling.counted is None
        else _counted(source, own, scaling.counted, accumulator)
        for own, scaling in zip(names, scalings, strict=True)
    ]
    source.lines.append(f"static const dq_scaling {name}_scalings[] = {{{', '.join(texts)}}};")
    return f"{name}_scalings"


def _counted(source: CSource, name: str, counted: Counted, accumulator: Accumulator) -> str:
    held = counted.held(accumulator)
    codes = source.codes(f"{name}_thresholds", held, number_bits(held), True)
    return initializer(
        count=len(held), thresholds=codes, threshold_count=held.shape[1], offset=counted.lowest
    )


def _scaling(source: CSource, name: str, scaling: Scaling) -> str:
    fields: Fields = {
        "precision": scaling.precision,
        "rounding": f"DQ_{scaling.rounding.upper()}",
        "post_shift": scaling.post_shift,
        "count": scaling.mantissa.size,
        "mantissa": source.array("int64_t", f"{name}_mantissa", scaling.mantissa),
        "shift": source.array("int16_t", f"{name}_shift", scaling.shift),
        "offset": scaling.offset,
    }
    if scaling.before is not None:
        first = f"{name}_before"
        fields["before"] = source.struct(
            "dq_scaling", first, _scaling(source, first, scaling.before)
        )
    if scaling.folded is not None:
        fields["folded"] = source.array("int64_t", f"{name}_folded", scaling.folded)
    late = scaling.late
    if late is not None and not scaling.precision:
        steps, bits = late.mantissa, number_bits(late.mantissa)
        fields["late"] = source.codes(f"{name}_bias", steps, bits, True)
        late = None
    for key, reals in (("divisor", scaling.divisor), ("inner", scaling.inner or late)):
        if reals is not None:
            fields[key] = numbers(source, f"{name}_{key}", spread(reals, scaling))
    return initializer(**fields)
