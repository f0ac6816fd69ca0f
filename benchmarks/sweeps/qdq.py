"""A sweep as a QDQ file with unsigned activations: codes in, codes out."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from benchmarks.sweeps.sweep import Sweep
from deployq.qgraph.nodes import Concat, IntegerGraph, Linear, Lookup, Node, Pool
from deployq.qparams import IntArray, PerChannel, QParams

OPSET, IR_VERSION = 21, 10
WEIGHTS = {8: TensorProto.INT8, 4: TensorProto.INT4}


def qdq_file(sweep: Sweep) -> onnx.ModelProto:
    """Each operator between DequantizeLinears and a QuantizeLinear.

    One of them may have weights. The batch is open. There is no clamp: graphs with ``bounds`` are
    not for this.
    """
    return _Writer(sweep.graph).model(sweep)


class _Writer:
    def __init__(self, graph: IntegerGraph) -> None:
        self.graph = graph
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def model(self, sweep: Sweep) -> onnx.ModelProto:
        for node in self.graph.nodes:
            self._computed(node)
        inputs = [
            helper.make_tensor_value_info(name, self._element(name), ["N", *codes.shape[1:]])
            for name, codes in sweep.inputs.items()
        ]
        node = self.graph.nodes[-1]
        output = helper.make_tensor_value_info(node.output, self._element(node.output), None)
        graph = helper.make_graph(self.nodes, node.op_type, inputs, [output], self.constants)
        opsets = [helper.make_opsetid("", OPSET)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION)

    def _computed(self, node: Node) -> None:
        reals = [self._dequantized(name, self.graph.qparams[name]) for name in node.inputs]
        self.nodes.append(
            helper.make_node(
                "QuantizeLinear",
                [
                    self._operator(node, reals),
                    *self._parameters(node.output, self.graph.qparams[node.output]),
                ],
                [node.output],
                name=f"{node.output}.quantize",
            )
        )

    def _element(self, name: str) -> int:
        return helper.np_dtype_to_tensor_dtype(self.graph.qparams[name].qtype.dtype)

    def _operator(self, node: Node, reals: list[str]) -> str:
        if isinstance(node, Linear):
            reals += self._weights(node)
        if reals and node.op_type != "QuantizeLinear":
            computed = f"{node.output}.computed"
            operator = helper.make_node(
                node.op_type, reals, [computed], name=node.name, **_attributes(node)
            )
            self.nodes.append(operator)
            return computed
        return reals[0]

    def _weights(self, node: Linear) -> list[str]:
        axis = node.weight_qparams.granularity
        step = (self.graph.qparams[node.inputs[0]].scale * node.weight_qparams.scale).astype(
            np.float32
        )
        along = axis.axis if isinstance(axis, PerChannel) else None
        element = WEIGHTS[node.weight_qparams.qtype.bits]
        weight = self._stored("w", node.weight, element, node.weight_qparams.scale, along)
        assert node.bias is not None
        bias = self._stored("b", node.bias, TensorProto.INT32, step, None if along is None else 0)
        return [weight, bias]

    def _stored(
        self, name: str, codes: IntArray, element: int, scale: Any, axis: int | None
    ) -> str:
        zero = np.zeros(np.shape(scale), np.int64)
        for tensor, values in ((name, codes), (f"{name}.z", zero)):
            made = helper.make_tensor(tensor, element, values.shape, values.astype(int).ravel())
            self.constants.append(made)
        parameters = [self._constant(f"{name}.s", scale), f"{name}.z"]
        attributes: dict[str, Any] = {} if axis is None else {"axis": axis}
        self.nodes.append(
            helper.make_node(
                "DequantizeLinear", [name, *parameters], [f"{name}.real"], **attributes
            )
        )
        return f"{name}.real"

    def _dequantized(self, name: str, qparams: QParams) -> str:
        real, parameters = f"{name}.real", self._parameters(name, qparams)
        if all(real not in node.output for node in self.nodes):
            self.nodes.append(helper.make_node("DequantizeLinear", [name, *parameters], [real]))
        return real

    def _parameters(self, name: str, qparams: QParams) -> list[str]:
        zero = qparams.zero_point.astype(qparams.qtype.dtype)
        return [self._constant(f"{name}.s", qparams.scale), self._constant(f"{name}.z", zero)]

    def _constant(self, name: str, value: Any) -> str:
        if all(constant.name != name for constant in self.constants):
            self.constants.append(numpy_helper.from_array(np.asarray(value), name))
        return name


def _attributes(node: Node) -> dict[str, Any]:
    if isinstance(node, Lookup):
        return {n: v for n in ("alpha", "beta") if (v := getattr(node.params, n)) is not None}
    if isinstance(node, Concat):
        return {"axis": node.axis}
    if isinstance(node, Linear) and node.op_type == "Conv":
        geometry = node.geometry
        return {
            "strides": geometry.strides, "pads": geometry.pads, "dilations": geometry.dilations,
            "group": geometry.groups,
        }  # fmt: skip
    if isinstance(node, Pool) and node.geometry is not None:
        pool = node.geometry
        return {"kernel_shape": pool.kernel, "strides": pool.strides, "pads": pool.pads}
    return {}
