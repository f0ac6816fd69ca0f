"""A clamp between an integer operator and its QuantizeLinear becomes a Clip of the codes.

    QuantizeLinear(Relu(Conv(...)), s, z)   ->   Clip(QuantizeLinear(Conv(...), s, z), z, qmax)

Rounding is monotonic and leaves whole steps alone, so both give the same codes. ONNX Runtime fuses
a Relu or Clip of reals into the operator before it, which then runs in float.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from deployq_exporters.rewrites.code_clip import clip_codes
from deployq_exporters.rewrites.rule import (
    Rewrite,
    constant,
    initializer_array,
    is_read_once,
    producer_of,
)

OPERATORS = (
    "Conv", "ConvTranspose", "Gemm", "Add", "Mul", "AveragePool", "GlobalAveragePool",
)  # fmt: skip
"""Operators that ONNX Runtime has integer kernels for."""

CODES = {ir.DataType.INT8: (-128, 127), ir.DataType.UINT8: (0, 255)}


def match(node: ir.Node) -> bool:
    if node.op_type != "QuantizeLinear" or len(node.inputs) < 3 or node.inputs[2] is None:
        return False
    if node.outputs[0].is_graph_output():  # an integer edge stays where it is
        return False
    clamp = producer_of(node.inputs[0], "Relu", "Clip")
    if clamp is None or node.inputs[2].dtype not in CODES:
        return False
    core = producer_of(clamp.inputs[0], *OPERATORS)
    alone = all(is_read_once(n.outputs[0]) for n in (clamp, core) if n is not None)
    bounded = all(initializer_array(bound) is not None for bound in _bounds(clamp) if bound)
    return core is not None and alone and bounded and _reads_codes(core)


def _reads_codes(core: ir.Node) -> bool:
    return all(producer_of(value, "DequantizeLinear") for value in core.inputs)


def _bounds(clamp: ir.Node) -> tuple[ir.Value | None, ir.Value | None]:
    """Lowest and highest real of a Clip, if it has them."""
    low, high = (*clamp.inputs[1:], None, None)[:2]
    return low, high


def rewrite(graph: ir.Graph, node: ir.Node) -> None:
    clamp, zero_point = producer_of(node.inputs[0]), node.inputs[2]
    assert clamp is not None and zero_point is not None and zero_point.dtype is not None
    bounds, kind = _code_bounds(clamp, node, zero_point), zero_point.dtype
    node.replace_input_with(0, clamp.inputs[0])
    graph.remove(clamp, safe=True)
    readers = [user for user, _ in node.outputs[0].uses()]
    if [user.op_type for user in readers] == ["Clip"]:  # of a type inside its container
        _tighten(graph, readers[0], bounds, kind)
    else:
        clip_codes(graph, node, bounds, kind, "clamp")


def _tighten(graph: ir.Graph, clip: ir.Node, bounds: tuple[int, int], kind: ir.DataType) -> None:
    for index, pick, bound in ((1, max, bounds[0]), (2, min, bounds[1])):
        value = clip.inputs[index]
        stated = initializer_array(value)
        assert value is not None and stated is not None
        found = np.asarray(pick(int(stated), bound))
        clip.replace_input_with(index, constant(graph, f"{value.name}.clamp", found, kind))


def _code_bounds(clamp: ir.Node, node: ir.Node, zero: ir.Value) -> tuple[int, int]:
    """Law 1 of the bounds, in the range of the container."""
    assert zero.dtype is not None
    qmin, qmax = CODES[zero.dtype]
    reals = [0.0 if clamp.op_type == "Relu" else -np.inf, np.inf]
    for index, bound in enumerate(_bounds(clamp)):
        array = initializer_array(bound)
        reals[index] = reals[index] if array is None else float(array)
    scale, zero_point = initializer_array(node.inputs[1]), initializer_array(zero)
    assert scale is not None and zero_point is not None
    steps = np.rint(np.array(reals, np.float32) / scale) + np.float32(zero_point)
    low, high = np.clip(steps, qmin, qmax)
    return int(low), int(high)


RULE = Rewrite("clamp on codes", match, rewrite)
