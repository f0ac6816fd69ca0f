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

Array = npt.NDArray[Any]

CACHED_SESSIONS = 256
IR_VERSION = 10
"""Any that ONNX Runtime loads: a single operator needs nothing of later ones."""


def compute_float(node: Float, operands: Sequence[Array]) -> Array:
    """What the operator computes.

    Args:
        node: from a graph.
        operands: arrays of ``node.inputs``.

    Raises:
        UnsupportedError: ONNX Runtime has no kernel for the operator.
    """
    types = tuple(helper.np_dtype_to_tensor_dtype(array.dtype) for array in operands)
    try:
        session = _session(_model(node, types).SerializeToString(deterministic=True))
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


@lru_cache(CACHED_SESSIONS)
def _session(model: bytes) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1  # the sum's order then does not depend on the machine's load
    options.log_severity_level = 3
    return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
