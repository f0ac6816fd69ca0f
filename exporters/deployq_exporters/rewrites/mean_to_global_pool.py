"""ReduceMean(x, axes (2, 3), keepdims) of a rank-4 tensor becomes GlobalAveragePool(x).

The integer form of a mean over the map (law 3): ONNX Runtime fuses the one and not the other.
"""

from __future__ import annotations

import onnx_ir as ir

from deployq_exporters.rewrites.rule import Rewrite, initializer_array, replace_node


def match(node: ir.Node) -> bool:
    if node.op_type != "ReduceMean" or len(node.inputs) < 2:
        return False
    x, axes = node.inputs[0], initializer_array(node.inputs[1])
    if x is None or x.shape is None or len(x.shape) != 4 or axes is None:
        return False
    keep = node.attributes.get("keepdims")
    return sorted(int(a) % 4 for a in axes) == [2, 3] and (keep is None or keep.as_int() == 1)


def rewrite(graph: ir.Graph, node: ir.Node) -> None:
    replace_node(graph, node, "GlobalAveragePool", (node.inputs[0],))


RULE = Rewrite("mean to global pool", match, rewrite)
