"""The simulator's twin in NumPy: the arithmetic of ``deployq.arithmetic.oracle``, node by node."""

from __future__ import annotations

from typing import Any

import numpy as np

from deployq import affine
from deployq.arithmetic.contract import Contract
from deployq.arithmetic.oracle import (
    concat,
    conv_transpose,
    elementwise,
    linear,
    lookup,
    pooling,
    row_norms,
    softmax,
)
from deployq.arithmetic.oracle.requantize import fit_accumulator, requantize
from deployq.arithmetic.requant_words import BiasOrder
from deployq.qgraph import IntegerGraph
from deployq.qgraph import nodes as n
from deployq.qgraph.as_computed import as_computed

CONVOLUTIONS: dict[str, Any] = {
    "Conv": linear.conv_accumulate,
    "ConvTranspose": conv_transpose.conv_transpose_accumulate,
}
Array = np.ndarray[Any, Any]


def evaluate(graph: IntegerGraph, contract: Contract, inputs: dict[str, Array]) -> dict[str, Array]:
    """Codes of every computed tensor; movement operators are not here."""
    graph, codes = as_computed(graph, contract), {**graph.constants, **inputs}
    for node in graph.nodes:
        if isinstance(node, n.Quantize):
            codes[node.output] = affine.quantize(inputs[node.inputs[0]], graph.qparams[node.output])
        elif not isinstance(node, n.Dequantize):
            codes[node.output] = _compute(graph, contract, node, codes)
        if node.bounds is not None:
            codes[node.output] = np.clip(codes[node.output], *node.bounds)
    return {node.output: codes[node.output] for node in graph.nodes if node.output in codes}


def _compute(graph: IntegerGraph, contract: Contract, node: Any, codes: dict[str, Array]) -> Array:
    out, form = graph.qparams[node.output], contract.form(node.form_name)
    qparams = [graph.qparams[name] for name in node.inputs]
    x, qx = codes[node.inputs[0]], qparams[0]
    rest = {"bounds": node.bounds}
    if isinstance(node, n.Linear | n.MatMul):
        return _product(graph, contract, node, codes)
    if isinstance(node, n.Elementwise):
        function = elementwise.add if node.op_type == "Add" else elementwise.mul
        return function(x, qx, codes[node.inputs[1]], qparams[1], out, form, **rest)
    if isinstance(node, n.Concat):
        parts = [(codes[name], q) for name, q in zip(node.inputs, qparams, strict=True)]
        return concat.concat(parts, out, node.axis, form)
    if isinstance(node, n.Rescale):
        return concat.rescale(x, qx, out, form, **rest)
    if isinstance(node, n.Lookup):
        table = lookup.lookup_table(node.op_type, qx, out, params=node.params, form=form)
        return lookup.apply_table(x, qx.qtype, table)
    if isinstance(node, n.Softmax):
        return softmax.softmax(x, qx, out, form, **rest)
    if isinstance(node, n.RowNormalization):
        return row_norms.normalize(x, qx, out, form, node.norm, **rest)
    assert isinstance(node, n.Pool)
    if node.op_type == "MaxPool":
        return pooling.max_pool(x, node.geometry)
    if node.op_type == "GlobalAveragePool":
        return pooling.global_average_pool(x, qx, out, form, **rest)
    return pooling.average_pool(x, qx, out, form, node.geometry, **rest)


def _product(graph: IntegerGraph, contract: Contract, node: Any, codes: dict[str, Array]) -> Array:
    x, qx = codes[node.inputs[0]], graph.qparams[node.inputs[0]]
    qw = node.weight_qparams if isinstance(node, n.Linear) else graph.qparams[node.inputs[1]]
    operands = x, int(qx.zero_point)
    bias = node.bias if isinstance(node, n.Linear) else None
    late = None
    if bias is not None and contract.bias_order is BiasOrder.AFTER_SCALE:
        step = np.asarray(np.float32(qx.scale) * np.asarray(qw.scale, np.float32), np.float64)
        bias, late = None, bias * step
    if isinstance(node, n.MatMul):
        acc = linear.matmul_accumulate(*operands, codes[node.inputs[1]], int(qw.zero_point))
    elif node.op_type in CONVOLUTIONS:
        weight = node.weight, qw.zero_point, bias, node.geometry
        acc = CONVOLUTIONS[node.op_type](*operands, *weight)
    else:
        acc = linear.gemm_accumulate(*operands, node.weight, qw.zero_point, bias)
    axis = 1 if node.op_type in CONVOLUTIONS else acc.ndim - 1
    acc = fit_accumulator(acc, contract.accumulator, node.name, channel_axis=axis)
    form, out = contract.form(node.form_name), graph.qparams[node.output]
    rest = {"channel_axis": axis, "bounds": node.bounds, "bias": bias, "late": late}
    return requantize(acc, qx.scale, qw.scale, out, form, **rest)
