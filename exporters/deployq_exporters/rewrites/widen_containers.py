"""Codes under 8 bits move into an 8-bit container; not one code changes.

    weight codes INT4                 ->  weight codes INT8
    QuantizeLinear(x) to UINT4        ->  QuantizeLinear(x) to UINT8, Clip of the codes to [0, 15]
    Clip of the reals, QuantizeLinear ->  QuantizeLinear, Clip of the codes

ONNX Runtime computes convolutions of 4-bit codes in float and of the same codes in 8-bit containers
in its integer kernels; a Clip on codes, behind the QuantizeLinear, leaves the kernel's pattern
whole.
"""

from __future__ import annotations

from typing import Any

import onnx_ir as ir

from deployq_exporters.rewrites.code_clip import clip_codes
from deployq_exporters.rewrites.rule import Rewrite, initializer_array, producer_of

WIDER = {
    ir.DataType.INT2: ir.DataType.INT8, ir.DataType.UINT2: ir.DataType.UINT8,
    ir.DataType.INT4: ir.DataType.INT8, ir.DataType.UINT4: ir.DataType.UINT8,
}  # fmt: skip
RANGES = {
    ir.DataType.INT2: (-2, 1), ir.DataType.UINT2: (0, 3),
    ir.DataType.INT4: (-8, 7), ir.DataType.UINT4: (0, 15),
}  # fmt: skip


MOVEMENT = ("MaxPool", "Flatten", "Reshape", "Transpose", "Slice", "Squeeze", "Unsqueeze", "Pad",
            "Resize")  # fmt: skip


def match(node: ir.Node) -> bool:
    if node.op_type == "QuantizeLinear":
        return _narrow(node.inputs[2]) or _stated_range(node) is not None
    return node.op_type == "DequantizeLinear" and any(_narrow(v) for v in node.inputs)


def _narrow(value: ir.Value | None) -> bool:
    return value is not None and value.dtype in WIDER


def _stated_range(node: ir.Node) -> ir.Node | None:
    """The Clip of reals that states a range for this QuantizeLinear."""
    producer = producer_of(node.inputs[0])
    return producer if producer is not None and str(producer.name).endswith(".range") else None


def rewrite(graph: ir.Graph, node: ir.Node) -> None:
    if node.op_type == "QuantizeLinear":
        bounds = _take_bounds(graph, node)
        if not _moves(node):
            kind = node.inputs[2].dtype  # type: ignore[union-attr] # match saw it
            assert kind is not None
            clip_codes(graph, node, bounds, WIDER.get(kind, kind), "saturate")
    for value in node.inputs:
        if value is not None and value.dtype in WIDER:
            widen(value)
    if node.op_type == "QuantizeLinear" and node.outputs[0].dtype in WIDER:
        widen(node.outputs[0])


def _moves(node: ir.Node) -> bool:
    """True when the codes come moved from codes that are in range already."""
    return producer_of(node.inputs[0], *MOVEMENT) is not None


def widen(value: ir.Value) -> None:
    """Change the element type of an initializer or of a computed code tensor."""
    assert value.dtype is not None
    wider = WIDER[value.dtype]
    data = initializer_array(value)
    if data is not None:
        name = str(value.name)
        value.const_value = ir.Tensor(data.astype(wider.numpy()), dtype=wider, name=name)
    value.type = ir.TensorType(wider)


def _take_bounds(graph: ir.Graph, node: ir.Node) -> tuple[int, int]:
    """The code range of a QuantizeLinear; a Clip of reals that states it is removed."""
    stated = _stated_range(node)
    if stated is None:
        zero_point = node.inputs[2]
        assert zero_point is not None and zero_point.dtype is not None
        return RANGES[zero_point.dtype]
    bounds = _code_bounds(stated, node)
    node.replace_input_with(0, stated.inputs[0])
    graph.remove(stated, safe=True)
    return bounds


def _code_bounds(clip: ir.Node, node: ir.Node) -> tuple[int, int]:
    scale, zero_point, low, high = (
        _scalar(v) for v in (node.inputs[1], node.inputs[2], clip.inputs[1], clip.inputs[2])
    )
    return round(low / scale + zero_point), round(high / scale + zero_point)


def _scalar(value: ir.Value | None) -> Any:
    array = initializer_array(value)
    assert array is not None
    return float(array)


RULE = Rewrite("widen containers", match, rewrite)
