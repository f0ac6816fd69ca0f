"""Operators that a file leaves in float: one ONNX Runtime kernel each, un-optimised, in float32."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort
from onnx import helper, numpy_helper

from deployq.errors import UnsupportedError
from deployq.qgraph.nodes import Float
from deployq.qgraph.shapes import skeleton, strict_shapes
from deployq.simulator.fit import MOST, check_size

Array = npt.NDArray[Any]

CACHED_SESSIONS = 256
IR_VERSION = 10
"""Any that ONNX Runtime loads: a single operator needs nothing of later ones."""


def compute_float(node: Float, operands: Sequence[Array], most: int = MOST) -> Array:
    """What the operator computes.

    Args:
        node: from a graph.
        operands: arrays of ``node.inputs``.
        most: elements that the output may have.

    Raises:
        UnsupportedError: ONNX Runtime has no kernel for the operator.
        InputError: operands that do not fit, or an output that is too large.
    """
    types = tuple(helper.np_dtype_to_tensor_dtype(array.dtype) for array in operands)
    model = _model(node, types)
    _check_result(node, model, operands, most)
    try:
        session = _session(model.SerializeToString(deterministic=True))
        names = dict.fromkeys(node.inputs)  # an operator may read one tensor twice
        (output,) = session.run(None, {n: operands[node.inputs.index(n)] for n in names})
    except Exception as error:  # ONNX Runtime has no common public base for its errors
        raise UnsupportedError(
            f"node {node.name} ({node.op_type})",
            "an operator in float runs in ONNX Runtime",
            found=str(error).strip().splitlines()[0][:300],
            next_step="leave the operator out of the graph",
        ) from error
    return np.asarray(output)


def _model(node: Float, types: tuple[int, ...]) -> onnx.ModelProto:
    element = dict(zip(node.inputs, types, strict=True))
    graph = helper.make_graph(
        [node.operator],
        "float",
        [helper.make_tensor_value_info(name, kind, None) for name, kind in element.items()],
        [onnx.ValueInfoProto(name=node.output)],
        [numpy_helper.from_array(data, name) for name, data in node.constants.items()],
    )
    opset = helper.make_opsetid("", node.opset)
    return helper.make_model(graph, opset_imports=[opset], ir_version=IR_VERSION)


def _check_result(
    node: Float, model: onnx.ModelProto, operands: Sequence[Array], most: int
) -> None:
    """Hold operands and output against ONNX's shape inference, before anything is allocated."""
    shapes = {name: array.shape for name, array in zip(node.inputs, operands, strict=True)}
    bare, place = skeleton(model), f"node {node.name} ({node.op_type})"
    for value in bare.graph.input:
        if value.name in shapes:
            element = value.type.tensor_type.elem_type
            stated = helper.make_tensor_value_info(value.name, element, shapes[value.name])
            value.CopyFrom(stated)
    dimensions = strict_shapes(bare, place).output[0].type.tensor_type.shape.dim
    check_size(place, tuple(d.dim_value or 1 for d in dimensions), most)


@lru_cache(CACHED_SESSIONS)
def _session(model: bytes) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1  # the sum's order then does not depend on the machine's load
    options.log_severity_level = 3
    return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
