"""A clamp between an integer operator and its QuantizeLinear becomes a Clip of the codes.

    QuantizeLinear(Relu(Conv(...)), s, z)   ->   Clip(QuantizeLinear(Conv(...), s, z), z, qmax)

Rounding is monotonic and leaves whole steps alone, so both give the same codes. ONNX Runtime fuses
a Relu or Clip of reals into the operator before it, which then runs in float.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from deployq_exporters.rewrites.rule import Rewrite, constant, initializer_array

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
    clamp = _maker(node.inputs[0])
    if clamp is None or clamp.op_type not in ("Relu", "Clip") or node.inputs[2].dtype not in CODES:
        return False
    core = _maker(clamp.inputs[0])
    alone = all(len(list(n.outputs[0].uses())) == 1 for n in (clamp, core) if n is not None)
    bounded = all(initializer_array(bound) is not None for bound in _bounds(clamp) if bound)
    return core is not None and alone and bounded and _is_integer(core)


def _is_integer(core: ir.Node) -> bool:
    makers = [_maker(value) for value in core.inputs]
    reads_codes = all(m is not None and m.op_type == "DequantizeLinear" for m in makers)
    return core.op_type in OPERATORS and reads_codes


def _maker(value: ir.Value | None) -> ir.Node | None:
    return None if value is None else value.producer()


def _bounds(clamp: ir.Node) -> tuple[ir.Value | None, ir.Value | None]:
    """Lowest and highest real of a Clip, if it has them."""
    low, high = (*clamp.inputs[1:], None, None)[:2]
    return low, high


def rewrite(graph: ir.Graph, node: ir.Node) -> None:
    clamp, zero_point = _maker(node.inputs[0]), node.inputs[2]
    assert clamp is not None and zero_point is not None and zero_point.dtype is not None
    bounds = _code_bounds(clamp, node)
    node.replace_input_with(0, clamp.inputs[0])
    graph.remove(clamp, safe=True)
    codes = node.outputs[0]
    users = list(codes.uses())
    kind = zero_point.dtype
    if len(users) == 1 and users[0][0].op_type == "Clip":  # of a type inside its container
        _tighten(graph, users[0][0], bounds, kind)
        return
    tensor = str(codes.name).removesuffix(".codes")
    ends = [
        constant(graph, f"{tensor}.clamp.{end}", np.asarray(bound), kind)
        for end, bound in zip(("low", "high"), bounds, strict=True)
    ]
    clip = ir.node("Clip", [codes, *ends], name=f"{tensor}.clamp")
    output = clip.outputs[0]
    output.name, output.shape, output.type = codes.name, codes.shape, codes.type
    codes.name = f"{tensor}.codes.free"
    graph.insert_after(node, clip)
    for user, index in users:
        user.replace_input_with(index, output)


def _tighten(graph: ir.Graph, clip: ir.Node, bounds: tuple[int, int], kind: ir.DataType) -> None:
    for index, pick, bound in ((1, max, bounds[0]), (2, min, bounds[1])):
        value = clip.inputs[index]
        found = pick(int(initializer_array(value)), bound)  # type: ignore[arg-type]
        name = f"{value.name}.clamp"  # type: ignore[union-attr]
        clip.replace_input_with(index, constant(graph, name, np.asarray(found), kind))


def _code_bounds(clamp: ir.Node, node: ir.Node) -> tuple[int, int]:
    """Law 1 of the bounds, in the range of the container."""
    qmin, qmax = CODES[node.inputs[2].dtype]  # type: ignore[union-attr, index] # match saw it
    reals = [-np.inf, np.inf]
    if clamp.op_type == "Relu":
        reals[0] = 0.0
    for index, bound in enumerate(_bounds(clamp)):
        array = initializer_array(bound)
        reals[index] = reals[index] if array is None else float(array)
    scale, zero_point = (initializer_array(value) for value in node.inputs[1:3])
    assert scale is not None and zero_point is not None
    steps = np.rint(np.array(reals, np.float32) / scale) + np.float32(zero_point)
    low, high = np.clip(steps, qmin, qmax)
    return int(low), int(high)


RULE = Rewrite("clamp on codes", match, rewrite)
