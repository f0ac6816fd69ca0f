"""ONNX graphs from text, and what the tests of rewrites look at."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
from onnx import helper, numpy_helper

from deployq_exporters.rewrites.rule import Rewrite, apply

HEADER = '<ir_version: 10, opset_import: ["" : 21]>'


def parse(text: str) -> onnx.ModelProto:
    """A checked model of opset 21 from ONNX's text form."""
    model = onnx.parser.parse_model(f"{HEADER} g {text}")
    onnx.checker.check_model(model, full_check=True)
    return onnx.shape_inference.infer_shapes(model)


def rewritten(model: onnx.ModelProto, *rules: Rewrite) -> onnx.ModelProto:
    """A checked copy after the rewrites."""
    copy = ir.from_proto(model)
    apply(copy, rules)
    result = ir.to_proto(copy)
    onnx.checker.check_model(result, full_check=True)
    return result


def giving(model: onnx.ModelProto, *names: str) -> onnx.ModelProto:
    """A checked copy that gives these tensors too."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    copy.graph.output.extend(v for v in model.graph.value_info if v.name in names)
    onnx.checker.check_model(copy, full_check=True)
    return copy


def narrowed(model: onnx.ModelProto, names: Collection[str], element: int) -> onnx.ModelProto:
    """A checked copy with stored int8 codes in a narrower type, which the text form cannot pack."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    for tensor in copy.graph.initializer:
        if tensor.name in names:
            codes = numpy_helper.to_array(tensor)
            made = helper.make_tensor(tensor.name, element, tensor.dims, codes.astype(int).ravel())
            tensor.CopyFrom(made)
    del copy.graph.value_info[:]
    onnx.checker.check_model(copy, full_check=True)
    return onnx.shape_inference.infer_shapes(copy)


def operators(model: onnx.ModelProto) -> list[str]:
    return [node.op_type for node in model.graph.node]


def run(model: onnx.ModelProto, x: np.ndarray, *, optimised: bool = False) -> np.ndarray:
    """The first output, un-optimised by default, so that no fusion hides a fault of the rewrite."""
    options, level = ort.SessionOptions(), ort.GraphOptimizationLevel
    options.graph_optimization_level = level.ORT_ENABLE_ALL if optimised else level.ORT_DISABLE_ALL
    session = ort.InferenceSession(model.SerializeToString(), options)
    return session.run(None, {model.graph.input[0].name: x})[0]
