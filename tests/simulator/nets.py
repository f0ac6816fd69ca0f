"""QDQ networks of random weights, as an exporter writes them, and ONNX Runtime to run them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper

SPREAD = 40
"""Codes to one standard deviation of an activation."""


class Net:
    """A network under construction; every activation is uint8 with a deviation near 1.

    ``ties`` puts scales on powers of two, so that many results lie half way between two codes.
    """

    def __init__(self, seed: int, *, ties: bool) -> None:
        self.rng = np.random.default_rng(seed)
        self.ties = ties
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self.scales: dict[str, np.float32] = {}

    def constant(self, value: Any) -> str:
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def scale(self, value: Any) -> Any:
        """The float32 scale nearest to a value."""
        return np.exp2(np.rint(np.log2(value)) if self.ties else np.log2(value)).astype(np.float32)

    def node(self, operator: str, inputs: list[str], **attributes: Any) -> str:
        name = f"{operator}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, inputs, [name], name=name, **attributes))
        return name

    def quantize(self, real: str, zero_point: int = 127, *, like: str | None = None) -> str:
        """Q and DQ; a scale of its own, or the parameters of the tensor ``like``."""
        if like is None:
            spread = SPREAD if zero_point else 2 * SPREAD
            scale = self.scale(self.rng.uniform(0.9, 1.1) / spread)
            parameters = [self.constant(scale), self.constant(np.uint8(zero_point))]
        else:
            (reader,) = (node for node in self.nodes if node.output[0] == like)
            scale, parameters = self.scales[like], list(reader.input[1:])
        codes = self.node("QuantizeLinear", [real, *parameters])
        read = self.node("DequantizeLinear", [codes, *parameters])
        self.scales[read] = scale
        return read

    def operator(self, operator: str, inputs: list[str], **attributes: Any) -> str:
        return self.quantize(self.node(operator, inputs, **attributes))

    def linear(self, operator: str, x: str, shape: tuple[int, ...], axis: int, relu: bool = False,
               **attributes: Any) -> str:  # fmt: skip
        """Conv or Gemm: s8 weights per channel of ``axis``, s32 bias, perhaps a redundant Relu."""
        outputs, fan_in = shape[axis], int(np.prod(shape)) // shape[axis]
        weight = self.rng.integers(-127, 128, shape).astype(np.int8)
        scale = self.scale(self.rng.uniform(0.7, 1.4, outputs) / (73 * np.sqrt(fan_in)))
        bias_scale = self.scales[x] * scale
        bias = (self.rng.uniform(-0.3, 0.3, outputs) / bias_scale).astype(np.int32)
        inputs = [x, *(
            self.node("DequantizeLinear", [self.constant(c), self.constant(s), self.constant(z)],
                      axis=a)
            for c, s, z, a in (
                (weight, scale, np.zeros(outputs, np.int8), axis),
                (bias, bias_scale, np.zeros(outputs, np.int32), 0),
            )
        )]  # fmt: skip
        real = self.node(operator, inputs, **attributes)
        return self.quantize(self.node("Relu", [real]), 0) if relu else self.quantize(real)

    def model(self, shape: list[Any], outputs: list[str], opset: int) -> onnx.ModelProto:
        codes = [o for o in outputs if o.startswith("QuantizeLinear")]
        graph = helper.make_graph(
            self.nodes, "net", [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
            [helper.make_tensor_value_info(
                o, TensorProto.UINT8 if o in codes else TensorProto.FLOAT, None) for o in outputs],
            self.constants,
        )  # fmt: skip
        opsets = [helper.make_opsetid("", opset)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=10)


def small_net(opset: int, *, ties: bool = False, inner: bool = False) -> onnx.ModelProto:
    """Every operator that ONNX Runtime has an integer kernel for; ``inner`` puts codes out too."""
    net = Net(opset, ties=ties)
    x = net.quantize("x")
    stem = net.linear("Conv", x, (16, 3, 3, 3), 0, relu=True, strides=[2, 2], pads=[1, 1, 1, 1])
    deep = net.linear("Conv", stem, (16, 1, 3, 3), 0, pads=[1, 1, 1, 1], group=16)
    leaky = net.operator("LeakyRelu", [deep], alpha=0.1)
    total = net.operator("Add", [stem, leaky])
    pool = net.quantize(
        net.node("MaxPool", [total], kernel_shape=[2, 2], strides=[2, 2]), like=total
    )
    wide = net.linear("Conv", pool, (8, 16, 1, 1), 0)
    joined = net.operator("Concat", [pool, wide], axis=1)
    scaled = net.operator("Mul", [joined, joined])
    mean = net.operator("AveragePool", [scaled], kernel_shape=[3, 3], pads=[1, 1, 1, 1])
    whole = net.quantize(net.node("GlobalAveragePool", [mean]), 20)
    flat = net.quantize(net.node("Flatten", [whole]), like=whole)
    last = net.linear("Gemm", flat, (24, 40), 1)
    codes = [n.output[0] for n in net.nodes if n.op_type == "QuantizeLinear"]
    return net.model(["N", 3, 16, 16], [last, *(codes if inner else [])], opset)


def reals(n: int = 8, seed: int = 0) -> np.ndarray[Any, Any]:
    """(n, 3, 16, 16) of deviation 1."""
    return np.random.default_rng(seed).standard_normal((n, 3, 16, 16)).astype(np.float32)


LEVELS = ort.GraphOptimizationLevel


def session(
    model: onnx.ModelProto | Path, optimised: Path, level: Any = LEVELS.ORT_ENABLE_ALL
) -> ort.InferenceSession:
    """A session on one thread; the optimised model is written to a file."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    options.graph_optimization_level = level
    options.optimized_model_filepath = str(optimised)
    data = str(model) if isinstance(model, Path) else model.SerializeToString()
    return ort.InferenceSession(data, options, providers=["CPUExecutionProvider"])


def operators(path: Path) -> set[str]:
    """Operator types of a model file."""
    return {node.op_type for node in onnx.load(path).graph.node}
