"""An ONNX file whose layers read their codes from outside, each on its own."""

from __future__ import annotations

from collections.abc import Mapping

import onnx
from onnx import TensorProto, helper, numpy_helper

from deployq.qparams import QParams
from deployq_exporters.runtimes.onnxruntime import zero_point_tensor

FED = ":fed"
"""A graph input of this name and suffix holds the reals of the codes that readers of a tensor get.
"""


def fed_file(model: onnx.ModelProto, tensors: Mapping[str, QParams]) -> onnx.ModelProto:
    """A copy in which whoever reads one of ``tensors`` reads codes of a further input.

    The input holds reals, and a QuantizeLinear of the file makes codes of them, exactly: patterns
    that a runtime looks for, which begin at a QuantizeLinear, stay whole. The tensors themselves
    are computed as before.

    Args:
        model: the file; it is not changed.
        tensors: code tensors that nodes of the file write, with their parameters.
    """
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    shapes = _shapes(model)
    domains = {name: node.domain for node in model.graph.node for name in node.output
               if node.op_type == "QuantizeLinear"}  # fmt: skip
    for node in copy.graph.node:
        for index, name in enumerate(node.input):
            if name in tensors:
                node.input[index] = f"{name}{FED}.codes"
    feeds = [_feed(copy.graph, name, qparams, shapes.get(name), domains.get(name, ""))
             for name, qparams in tensors.items()]  # fmt: skip
    rest = list(copy.graph.node)
    del copy.graph.node[:]
    copy.graph.node.extend([*feeds, *rest])
    return copy


def _feed(
    graph: onnx.GraphProto,
    name: str,
    qparams: QParams,
    shape: onnx.TensorShapeProto | None,
    domain: str,
) -> onnx.NodeProto:
    """The further input, and the node that makes codes of it."""
    value = helper.make_tensor_value_info(name + FED, TensorProto.FLOAT, None)
    if shape is not None:
        value.type.tensor_type.shape.CopyFrom(shape)
    graph.input.append(value)
    scale, zero_point = f"{name}{FED}.scale", f"{name}{FED}.zero_point"
    graph.initializer.append(numpy_helper.from_array(qparams.scale, scale))
    graph.initializer.append(zero_point_tensor(qparams, zero_point))
    return helper.make_node(
        "QuantizeLinear",
        [name + FED, scale, zero_point],
        [f"{name}{FED}.codes"],
        name=name + FED,
        domain=domain,
    )


def _shapes(model: onnx.ModelProto) -> dict[str, onnx.TensorShapeProto]:
    """Shapes that ONNX can tell: a runtime asks for the rank before it fuses some layers."""
    graph = onnx.shape_inference.infer_shapes(model).graph
    values = [*graph.value_info, *graph.output]
    return {
        v.name: v.type.tensor_type.shape for v in values if v.type.tensor_type.HasField("shape")
    }
