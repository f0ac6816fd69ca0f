"""Reshape(x, [-1, K]) of (N, ...) with K elements a sample becomes Flatten(x, axis 1)."""

from __future__ import annotations

import math

import onnx_ir as ir

from deployq_exporters.rewrites.rule import Rewrite, initializer_array, replace_node


def match(node: ir.Node) -> bool:
    if node.op_type != "Reshape":
        return False
    x, shape = node.inputs[0], initializer_array(node.inputs[1])
    if x is None or x.shape is None or shape is None or len(shape) != 2 or shape[0] != -1:
        return False
    sample = list(x.shape)[1:]
    return all(isinstance(d, int) for d in sample) and math.prod(sample) == int(shape[1])


def rewrite(graph: ir.Graph, node: ir.Node) -> None:
    replace_node(graph, node, "Flatten", (node.inputs[0],), attributes={"axis": 1})


RULE = Rewrite("reshape to flatten", match, rewrite)
