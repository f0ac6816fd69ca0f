"""Shapes of the file's tensors, as far as ONNX's shape inference knows them."""

from __future__ import annotations

from typing import TypeAlias

import onnx

Dimension: TypeAlias = int | str
Shape: TypeAlias = tuple[Dimension, ...]
"""A symbolic dimension is a text; equal texts are equal sizes."""


def infer_shapes(model: onnx.ModelProto) -> dict[str, Shape]:
    """Tensor name to shape; tensors of unknown rank are missing.

    A dimension that has neither size nor name gets a name of its own.
    """
    try:
        graph = onnx.shape_inference.infer_shapes(model).graph
    except onnx.shape_inference.InferenceError:
        graph = model.graph
    known = {
        value.name: _shape(value)
        for value in (*graph.input, *graph.value_info, *graph.output)
        if value.type.tensor_type.HasField("shape")
    }
    return known | {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}


def _shape(value: onnx.ValueInfoProto) -> Shape:
    dimensions = enumerate(value.type.tensor_type.shape.dim)
    return tuple(
        d.dim_value if d.HasField("dim_value") else d.dim_param or f"{value.name}[{axis}]"
        for axis, d in dimensions
    )
