"""ONNX models from text, with the constants that the texts name."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

from deployq.qgraph import IntegerGraph, read_graph

CONSTANTS: dict[str, Any] = {
    "sx": np.float32(0.5),
    "zx": np.uint8(3),
    "sy": np.float32(0.25),
    "zy": np.uint8(5),
    "w": np.arange(-6, 6, dtype=np.int8).reshape(4, 3, 1, 1),  # Conv of 3 to 4 channels
    "m": np.arange(-6, 6, dtype=np.int8).reshape(3, 4),  # MatMul of 3 to 4
    "sw": np.float32(0.125),
    "zw": np.int8(0),
    "sw4": np.float32([0.125, 0.25, 0.5, 1.0]),
    "zw4": np.int8([0, 1, -2, 3]),
    "b": np.int32([10, -20, 30, 40]),
    "sb": np.float32(0.0625),
    "zb": np.int32(0),
    "c": np.uint8([[7], [8], [9]]),  # codes that broadcast over (N, 3, H)
}
"""Activations ``sx zx`` and ``sy zy``, weights ``w`` and ``m``, their scales, bias, constant."""


def model(text: str, *, opset: int = 17, **constants: Any) -> onnx.ModelProto:
    """A checked model; of CONSTANTS and ``constants`` it holds those that the text only reads."""
    domains = f'"" : {opset}, "com.microsoft" : 1'
    made = onnx.parser.parse_model(f"<ir_version: 10, opset_import: [{domains}]>\n{text}")
    named = {name for node in made.graph.node for name in node.input}
    named -= {name for node in made.graph.node for name in node.output}
    for name, value in (CONSTANTS | constants).items():
        if name in named:
            made.graph.initializer.append(numpy_helper.from_array(np.asarray(value), name))
    onnx.checker.check_model(made)
    return made


def qdq(
    body: str, *, shape: str = "N,3,8,8", out: str = "N,C,H,W", opset: int = 17, **constants: Any
) -> onnx.ModelProto:
    """``x -> Q -> DQ -> xd``, the body, ``v -> Q -> DQ -> y``."""
    text = f"""g (float[{shape}] x) => (float[{out}] y) {{
        xq = QuantizeLinear(x, sx, zx)
        xd = DequantizeLinear(xq, sx, zx)
        {body}
        yq = QuantizeLinear(v, sy, zy)
        y = DequantizeLinear(yq, sy, zy)
    }}"""
    return model(text, opset=opset, **constants)


def read(body: str, **options: Any) -> IntegerGraph:
    """The integer nodes of :func:`qdq`."""
    return read_graph(qdq(body, **options))


def kinds(graph: IntegerGraph) -> list[str]:
    """Classes of the nodes, in order."""
    return [type(node).__name__ for node in graph.nodes]


def node(graph: IntegerGraph, output: str) -> Any:
    """The node that writes a tensor."""
    (found,) = (node for node in graph.nodes if node.output == output)
    return found
