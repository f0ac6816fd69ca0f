"""Gemm, MatMul and MatMul + Add with constant weights become ``Linear(x, weight, bias)``.

    Gemm(x, B, C)        y = alpha·x·B + beta·C   becomes  Linear(x, alpha·Bᵀ, beta·C)
    MatMul(x, B)         y = x·B                  becomes  Linear(x, Bᵀ)
    Add(MatMul(x, B), C)                          becomes  Linear(x, Bᵀ, C)

``Linear`` is torch's: weight [out, in], bias [out]. It is the form that targets have integers for.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from deployq.graph.onnx_import.node import Array, OnnxNode
from deployq.graph.onnx_import.reading import OnnxGraph


def to_linear_layers(graph: OnnxGraph) -> None:
    """Rewrite ``graph`` in place."""
    nodes = [_gemm(graph, node) if _is_gemm(graph, node) else node for node in graph.nodes]
    nodes = [_matmul(graph, node) if _is_matmul(graph, node) else node for node in nodes]
    graph.nodes = nodes
    made = {node.outputs[0]: node for node in nodes if node.op_type == "Linear"}
    for add in nodes:
        layer = _biased_layer(graph, add, made)
        if layer is not None:
            _absorb_bias(graph, layer, add)


def _is_gemm(graph: OnnxGraph, node: OnnxNode) -> bool:
    if node.op_type != "Gemm" or node.get("transA", 0):
        return False
    weight, bias = _weight(graph, node), node.inputs[2:]
    if weight is None or not bias or not bias[0]:
        return weight is not None
    outputs = weight.shape[0 if node.get("transB", 0) else 1]
    return bias[0] in graph.constants and _fits(graph.constants[bias[0]], outputs)


def _is_matmul(graph: OnnxGraph, node: OnnxNode) -> bool:
    return node.op_type == "MatMul" and _weight(graph, node) is not None


def _weight(graph: OnnxGraph, node: OnnxNode) -> Array | None:
    """The constant second operand, if it is a float32 matrix."""
    weight = graph.constants.get(node.inputs[1])
    constant = node.inputs[0] in graph.constants
    if weight is None or constant or weight.ndim != 2 or weight.dtype != np.float32:
        return None
    return weight


def _fits(bias: Array, outputs: int) -> bool:
    """True for one number, or one a channel."""
    return bias.dtype == np.float32 and (bias.size == 1 or bias.shape in {(outputs,), (1, outputs)})


def _gemm(graph: OnnxGraph, node: OnnxNode) -> OnnxNode:
    weight = graph.constants[node.inputs[1]]
    laid_out = weight if node.get("transB", 0) else weight.T
    scaled = laid_out * np.float32(node.get("alpha", 1.0))
    names = [node.inputs[0], _replaced(graph, node.inputs[1], scaled)]
    if len(node.inputs) > 2 and node.inputs[2]:
        bias = graph.constants[node.inputs[2]] * np.float32(node.get("beta", 1.0))
        names.append(_replaced(graph, node.inputs[2], _row(bias, scaled.shape[0])))
    return replace(node, op_type="Linear", inputs=tuple(names), attributes={})


def _matmul(graph: OnnxGraph, node: OnnxNode) -> OnnxNode:
    weight = _replaced(graph, node.inputs[1], graph.constants[node.inputs[1]].T)
    return replace(node, op_type="Linear", inputs=(node.inputs[0], weight))


def _row(bias: Array, outputs: int) -> Array:
    return np.broadcast_to(bias.reshape(-1), (outputs,))


def _replaced(graph: OnnxGraph, name: str, array: Array) -> str:
    """Another array under the name of the old one; beside it where others read the old one."""
    if np.array_equal(graph.constants[name], array):
        return name
    free, number = name, 0
    while free in graph.constants and (number or graph.uses(name) > 1):
        number += 1
        free = f"{name}_{number}"
    graph.constants[free] = np.ascontiguousarray(array)
    return free


def _biased_layer(graph: OnnxGraph, add: OnnxNode, made: dict[str, OnnxNode]) -> OnnxNode | None:
    """The layer without bias whose only reader adds one number a channel."""
    if add.op_type != "Add":
        return None
    layer = made.get(add.inputs[0]) or made.get(add.inputs[1])
    if layer is None or len(layer.inputs) != 2 or graph.uses(layer.outputs[0]) != 1:
        return None
    bias = graph.constants.get(add.inputs[1 - add.inputs.index(layer.outputs[0])])
    outputs = graph.constants[layer.inputs[1]].shape[0]
    # a row of rank 2 could raise the rank of a vector; the bias of an exporter has rank 1
    fits = bias is not None and bias.ndim <= 1 and _fits(bias, outputs)
    return layer if fits else None


def _absorb_bias(graph: OnnxGraph, layer: OnnxNode, add: OnnxNode) -> None:
    name = add.inputs[1 - add.inputs.index(layer.outputs[0])]
    row = _row(graph.constants[name], graph.constants[layer.inputs[1]].shape[0])
    bias = _replaced(graph, name, row)
    merged = replace(layer, inputs=(*layer.inputs, bias), outputs=add.outputs)
    graph.nodes = [merged if node is layer else node for node in graph.nodes if node is not add]
