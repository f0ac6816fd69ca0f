"""DequantizeLinear - Pad with 0.0 - QuantizeLinear on one grid becomes Pad of codes.

    q -> DQ -> Pad(0.0) -> Q        becomes        q -> Pad(zero_point)

Padding is data movement; runtimes that do not know it would run it in float (law 3).
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from deployq_exporters.rewrites.rule import Rewrite, initializer_array


def match(node: ir.Node) -> bool:
    if node.op_type != "Pad" or len(node.inputs) > 2:  # a stated value is not the real zero
        return False
    source = node.inputs[0].producer() if node.inputs[0] is not None else None
    users = list(node.outputs[0].uses())
    if source is None or source.op_type != "DequantizeLinear" or len(users) != 1:
        return False
    user = users[0][0]
    return user.op_type == "QuantizeLinear" and _same_grid(source, user)


def _same_grid(source: ir.Node, user: ir.Node) -> bool:
    for a, b in zip(source.inputs[1:3], user.inputs[1:3], strict=True):
        x, y = initializer_array(a), initializer_array(b)
        if x is None or y is None or not np.array_equal(x, y):
            return False
    return True


def rewrite(graph: ir.Graph, node: ir.Node) -> None:
    source = node.inputs[0].producer()  # type: ignore[union-attr] # match saw it
    quantize = next(iter(node.outputs[0].uses()))[0]
    assert source is not None
    old = quantize.outputs[0]
    new = ir.node("Pad", [source.inputs[0], node.inputs[1], quantize.inputs[2]], name=node.name)
    output = new.outputs[0]
    output.name, output.type, output.shape = old.name, old.type, old.shape
    graph.insert_before(node, new)
    ir.convenience.replace_all_uses_with(old, output, replace_graph_outputs=True)
    graph.remove([quantize, node], safe=True)
    if not list(source.outputs[0].uses()):
        graph.remove(source, safe=True)


RULE = Rewrite("pad on codes", match, rewrite)
