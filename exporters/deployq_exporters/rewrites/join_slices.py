"""Two Slices along other axes, on one grid, become one.

    DQ -> Slice(axis 2) -> Q -> DQ -> Slice(axis 3)        becomes        DQ -> Slice(axes 2, 3)

Torch has a call for each axis. Where a Slice is a pass over memory, one is half of the work.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from deployq_exporters.rewrites.rule import (
    Rewrite,
    constant,
    grid,
    initializer_array,
    is_read_once,
    producer_of,
)

PARTS = ("starts", "ends", "axes", "steps")


def match(node: ir.Node) -> bool:
    before = _slice_before(node)
    if before is None:
        return False
    own, first = _numbers(node), _numbers(before)
    if own is None or first is None:
        return False
    axes = [*first[2], *own[2]]
    return min(axes) >= 0 and len(set(axes)) == len(axes)


def _slice_before(node: ir.Node) -> ir.Node | None:
    """The Slice behind whose codes this one stands, where nothing else reads them."""
    if node.op_type != "Slice":
        return None
    chain = [node]
    for kind in ("DequantizeLinear", "QuantizeLinear", "Slice", "DequantizeLinear"):
        producer = producer_of(chain[-1].inputs[0], kind)
        if producer is None:
            return None
        chain.append(producer)
    _, dequantize, quantize, before, source = chain
    alone = all(is_read_once(n.outputs[0]) for n in (dequantize, quantize, before))
    one = grid(source)
    return before if alone and one and grid(quantize) == grid(dequantize) == one else None


def _numbers(node: ir.Node) -> list[list[int]] | None:
    """Starts, ends, axes and steps, where all are stated."""
    arrays = [initializer_array(value) for value in node.inputs[1:]]
    if len(arrays) != len(PARTS) or any(array is None for array in arrays):
        return None
    return [[int(n) for n in array] for array in arrays if array is not None]


def rewrite(graph: ir.Graph, node: ir.Node) -> None:
    before = _slice_before(node)
    assert before is not None
    first, own = _numbers(before), _numbers(node)
    assert first is not None and own is not None
    dequantize = node.inputs[0].producer()  # type: ignore[union-attr] # match saw it
    quantize = dequantize.inputs[0].producer()  # type: ignore[union-attr] # match saw it
    node.replace_input_with(0, before.inputs[0])
    for index, (part, a, b) in enumerate(zip(PARTS, first, own, strict=True), start=1):
        value = constant(graph, f"{node.name}.{part}", np.array([*a, *b]), ir.DataType.INT64)
        node.replace_input_with(index, value)
    graph.remove([dequantize, quantize, before], safe=True)  # type: ignore[list-item] # match saw


RULE = Rewrite("join slices", match, rewrite)
