"""Small QDQ models, run by ONNX Runtime at its default optimisation level."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper

from deployq.affine import dequantize, quantize
from deployq.arithmetic.contract import Form, Kind
from deployq.qparams import IntArray, PerTensor, QParams
from deployq.qtypes import QType
from tests.arithmetic.cases import S8, U8

OPSET = 17
IR_VERSION = 10
ZERO_POINTS = ("x_z", "a_z", "b_z", "y_z")
"""Initializers that stay under these names only while their tensor keeps its type."""


@dataclass(frozen=True)
class Codes:
    """A type of activation and how ONNX Runtime computes with it."""

    qtype: QType
    s8_kernels: bool = False

    @property
    def form(self) -> Form:
        return Form(Kind.FLOAT32, s8_as_u8=not self.s8_kernels)


VARIANTS = {"u8": Codes(U8), "s8 as u8": Codes(S8), "s8": Codes(S8, s8_kernels=True)}


class QdqModel:
    """A QDQ graph under construction, float at its borders.

    ONNX Runtime fuses s8 activations only where Q and DQ both lie inside the graph, so reals that
    are exact multiples of a scale go in and come out, and the inner codes are the test's codes.
    """

    output_params: QParams

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []
        self.inputs: list[onnx.ValueInfoProto] = []
        self.outputs: list[onnx.ValueInfoProto] = []

    def constant(self, name: str, value: Any) -> str:
        self.initializers.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def params(self, name: str, q: QParams) -> tuple[str, str]:
        zero = np.asarray(q.zero_point).astype(q.qtype.dtype)
        return self.constant(f"{name}_s", q.scale), self.constant(f"{name}_z", zero)

    def node(self, op: str, inputs: Sequence[str], output: str, **attributes: Any) -> str:
        self.nodes.append(helper.make_node(op, inputs, [output], name=output, **attributes))
        return output

    def activation(self, name: str, q: QParams, rank: int) -> str:
        """A float input, quantized and dequantized."""
        shape = [f"{name}_{axis}" for axis in range(rank)]
        self.inputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))
        scale, zero = self.params(name, q)
        codes = self.node("QuantizeLinear", [name, scale, zero], f"{name}_q")
        return self.node("DequantizeLinear", [codes, scale, zero], f"{name}_dq")

    def weight(self, name: str, codes: IntArray, q: QParams) -> str:
        scale, zero = self.params(name, q)
        axis = {} if isinstance(q.granularity, PerTensor) else {"axis": q.granularity.axis}
        codes = codes.astype(q.qtype.dtype)
        inputs = [self.constant(f"{name}_c", codes), scale, zero]
        return self.node("DequantizeLinear", inputs, f"{name}_dq", **axis)

    def output(self, value: str, q: QParams, rank: int) -> None:
        """Codes of ``value``, dequantized again so that s8 codes stay inside the graph."""
        self.output_params = q
        scale, zero = self.params("y", q)
        codes = self.node("QuantizeLinear", [value, scale, zero], "y_q")
        real = self.node("DequantizeLinear", [codes, scale, zero], "y")
        shape = [f"y_{axis}" for axis in range(rank)]
        self.outputs.append(helper.make_tensor_value_info(real, TensorProto.FLOAT, shape))

    def run(
        self, folder: Path, reals: dict[str, Any], fused: str, *, s8_kernels: bool = False
    ) -> IntArray:
        """Codes of the output; fails unless the optimised graph holds a ``fused`` node.

        ``s8_kernels`` keeps int8 codes int8, where the default on x86 makes them uint8.
        """
        graph = helper.make_graph(self.nodes, "case", self.inputs, self.outputs, self.initializers)
        opsets = [helper.make_opsetid("", OPSET)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION)
        onnx.checker.check_model(model)
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = 3
        options.add_session_config_entry("session.qdqisint8allowed", str(int(s8_kernels)))
        options.optimized_model_filepath = str(folder / "optimised.onnx")
        session = ort.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        optimised = onnx.load(folder / "optimised.onnx", load_external_data=False)
        operators = [node.op_type for node in optimised.graph.node]
        assert fused in operators, f"{fused} was not fused: {operators}"
        types = [init.data_type for init in optimised.graph.initializer if init.name in ZERO_POINTS]
        assert (TensorProto.INT8 in types) == (s8_kernels and self.output_params.qtype.signed)
        return quantize(session.run(None, reals)[0], self.output_params)  # restores the codes


def assert_same(found: IntArray, expected: IntArray) -> None:
    """Equal codes, many of them distinct: a saturated output would prove nothing."""
    assert len(np.unique(expected)) >= 32
    np.testing.assert_array_equal(found, expected)


def run_binary(
    operator: str,
    operands: list[tuple[IntArray, QParams]],
    out: QParams,
    folder: Path,
    codes: Codes,
) -> IntArray:
    """Codes of a two-input operator in ONNX Runtime; Concat joins channels."""
    model, reals, names = QdqModel(), {}, []
    for name, (operand, qparams) in zip("ab", operands, strict=True):
        names.append(model.activation(name, qparams, operand.ndim))
        reals[name] = dequantize(operand, qparams)
    attributes = {"axis": 1} if operator == "Concat" else {}
    rank = max(operand.ndim for operand, _ in operands)
    model.output(model.node(operator, names, "v", **attributes), out, rank)
    return model.run(folder, reals, f"QLinear{operator}", s8_kernels=codes.s8_kernels)


def run_unary(
    operator: str,
    x: IntArray,
    qx: QParams,
    out: QParams,
    folder: Path,
    codes: Codes,
    **attributes: Any,
) -> IntArray:
    """Codes of a one-input operator in ONNX Runtime."""
    model = QdqModel()
    model.output(model.node(operator, [model.activation("x", qx, 4)], "v", **attributes), out, 4)
    reals = {"x": dequantize(x, qx)}
    return model.run(folder, reals, f"QLinear{operator}", s8_kernels=codes.s8_kernels)
