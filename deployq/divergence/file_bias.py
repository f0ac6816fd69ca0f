"""A bias that a file holds as reals."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import onnx
from onnx import numpy_helper

from deployq.qgraph.values import label

WITH_BIAS = ("Conv", "ConvTranspose", "Gemm")
"""Operators whose third input is a bias."""


def real_bias(model: onnx.ModelProto, layer: str) -> npt.NDArray[np.float64] | None:
    """(C,) reals of a layer's bias; None where the file holds codes, or none.

    Args:
        layer: name of its integer node.
    """
    stored = {tensor.name: tensor for tensor in model.graph.initializer}
    for node in model.graph.node:
        if label(node) != layer or node.op_type not in WITH_BIAS or len(node.input) < 3:
            continue
        tensor = stored.get(node.input[2])
        if tensor is not None and tensor.data_type == onnx.TensorProto.FLOAT:
            return numpy_helper.to_array(tensor).reshape(-1).astype(np.float64)
    return None
