"""Shapes of the file's tensors, as far as ONNX's shape inference knows them."""

from __future__ import annotations

from math import prod
from typing import TypeAlias

import onnx

from deployq.errors import InputError

Dimension: TypeAlias = int | str
Shape: TypeAlias = tuple[Dimension, ...]
"""A symbolic dimension is a text; equal texts are equal sizes."""


def infer_shapes(model: onnx.ModelProto, *, arithmetic: bool = False) -> dict[str, Shape]:
    """Tensor name to shape; tensors of unknown rank are missing.

    A dimension that has neither size nor name gets a name of its own.

    Args:
        arithmetic: follow shapes through the operators that compute with them, as far as ONNX does.
    """
    try:
        graph = onnx.shape_inference.infer_shapes(model, data_prop=arithmetic).graph
    except onnx.shape_inference.InferenceError:
        graph = model.graph
    known = {
        value.name: _shape(value)
        for value in (*graph.input, *graph.value_info, *graph.output)
        if value.type.tensor_type.HasField("shape")
    }
    return known | {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}


def with_batch_one(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy in which every symbolic first dimension of an input is 1, wherever it occurs."""
    bound = onnx.ModelProto()
    bound.CopyFrom(model)
    stored = {tensor.name for tensor in bound.graph.initializer}
    first = [value.type.tensor_type.shape.dim[0] for value in bound.graph.input
             if value.name not in stored and value.type.tensor_type.shape.dim]  # fmt: skip
    free = [dim for dim in first if not dim.HasField("dim_value")]
    names = {dim.dim_param for dim in free} - {""}
    for dim in free:
        dim.dim_value = 1
    for value in (*bound.graph.input, *bound.graph.value_info, *bound.graph.output):
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_param in names:
                dim.dim_value = 1
    return bound


LARGEST_READ = 1024
"""Elements of a constant whose values may decide a shape; of others only the shape counts."""


def strict_shapes(model: onnx.ModelProto, where: str) -> onnx.GraphProto:
    """The graph with the shapes that ONNX infers, where all operands fit their operators.

    Raises:
        InputError: shapes or element types that do not fit, with ONNX's first complaint.
    """
    try:
        return onnx.shape_inference.infer_shapes(
            model, check_type=True, strict_mode=True, data_prop=True
        ).graph
    except (onnx.shape_inference.InferenceError, RuntimeError, ValueError) as error:
        raise InputError(
            where,
            "operands have shapes and types that fit their operators",
            found=str(error).strip().partition("\n")[0],
            next_step="check the shapes of the inputs, or repair the graph",
        ) from error


def skeleton(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model without the values of large constants, and without what it notes of the shapes
    of inner tensors and outputs: such notes are often stale, and decide nothing.
    """
    graph = model.graph
    given = {value.name for value in graph.input}
    kept = [tensor for tensor in graph.initializer if prod(tensor.dims) <= LARGEST_READ]
    large = [
        onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
        for tensor in graph.initializer
        if prod(tensor.dims) > LARGEST_READ and tensor.name not in given
    ]
    outputs = [onnx.ValueInfoProto(name=value.name) for value in graph.output]
    nodes = [onnx.NodeProto() for _ in graph.node]
    for node, original in zip(nodes, graph.node, strict=True):
        node.CopyFrom(original)
        node.name = original.name or next(iter(original.output), "")  # complaints have it
    bare = onnx.GraphProto(
        name="skeleton", node=nodes, input=[*graph.input, *large], output=outputs,
        initializer=kept,
    )  # fmt: skip
    return onnx.ModelProto(
        ir_version=max(model.ir_version, 4), opset_import=model.opset_import, graph=bare
    )


def _shape(value: onnx.ValueInfoProto) -> Shape:
    dimensions = enumerate(value.type.tensor_type.shape.dim)
    return tuple(
        d.dim_value if d.HasField("dim_value") else d.dim_param or f"{value.name}[{axis}]"
        for axis, d in dimensions
    )
