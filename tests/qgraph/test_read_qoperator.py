"""QOperator form: QLinearConv, QLinearMatMul and the com.microsoft set."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from deployq.errors import UnsupportedError
from deployq.qgraph import IntegerGraph, read_graph
from deployq.qparams import PerChannel, PerTensor, QParams
from deployq.qtypes import QType
from tests.qgraph.texts import CONSTANTS, kinds, model, node

X, Y = "x, sx, zx", "sy, zy"


def read(
    body: str, *, shape: str = "N,3,8,8", out: str = "N,C,H,W", **constants: Any
) -> IntegerGraph:
    """Codes ``x`` to codes ``y``."""
    text = f"g (uint8[{shape}] x) => (uint8[{out}] y) {{ {body} }}"
    return read_graph(model(text, **constants))


def test_conv() -> None:
    graph = read(f"y = QLinearConv <pads = [1, 1, 1, 1]> ({X}, w, sw4, zw4, {Y}, b)")
    conv = node(graph, "y")
    assert (conv.op_type, conv.geometry.pads) == ("Conv", (1, 1, 1, 1))
    np.testing.assert_array_equal(conv.bias, [10, -20, 30, 40])
    np.testing.assert_array_equal(conv.weight_qparams.zero_point, [0, 1, -2, 3])
    assert graph.qparams["y"] == QParams(QType(8, False), np.float32(0.25), np.int64(5))


def test_one_weight_scale_may_go_with_many_zero_points() -> None:
    conv = node(read(f"y = QLinearConv({X}, w, sw, zw4, {Y})"), "y")
    np.testing.assert_array_equal(conv.weight_qparams.scale, np.float32([0.125] * 4))
    np.testing.assert_array_equal(conv.weight_qparams.zero_point, [0, 1, -2, 3])


@pytest.mark.parametrize("transposed", [0, 1])
def test_gemm(transposed: int) -> None:
    body = f"y = com.microsoft.QGemm <transB = {transposed}> ({X}, k, sw4, zw4, b, {Y})"
    m = CONSTANTS["m"]
    gemm = node(read(body, shape="N,3", out="N,4", k=m.T.copy() if transposed else m), "y")
    np.testing.assert_array_equal(gemm.weight, m)
    assert gemm.weight_qparams.granularity == PerChannel(1)


def test_matmul_of_a_weight_and_of_an_activation() -> None:
    graph = read(
        f"""h = QLinearMatMul({X}, m, sw, zw, {Y})
        y = QLinearMatMul({X}, h, {Y}, {Y})""",
        shape="3,3",
        out="3,4",
    )
    assert kinds(graph) == ["Linear", "MatMul"]
    assert node(graph, "h").weight_qparams.granularity == PerTensor()
    assert node(graph, "y").inputs == ("x", "h")


@pytest.mark.parametrize("operator", ["Add", "Mul"])
def test_elementwise_with_a_constant(operator: str) -> None:
    graph = read(f"y = com.microsoft.QLinear{operator}({X}, c, {Y}, {Y})")
    assert (node(graph, "y").op_type, node(graph, "y").inputs) == (operator, ("x", "c"))
    np.testing.assert_array_equal(graph.constants["c"], CONSTANTS["c"])


def test_pools_joins_and_functions() -> None:
    graph = read(f"""a = com.microsoft.QLinearAveragePool <kernel_shape = [2, 2]> ({X}, {Y})
        c = com.microsoft.QLinearConcat <axis = 1> ({Y}, a, {Y}, a, {Y})
        l = com.microsoft.QLinearLeakyRelu <alpha = 0.25> (c, {Y}, {Y})
        s = com.microsoft.QLinearSigmoid(l, {Y}, {Y})
        m = MaxPool <kernel_shape = [2, 2]> (s)
        y = com.microsoft.QLinearGlobalAveragePool(m, {Y}, {Y})""")
    assert kinds(graph) == ["Pool", "Concat", "Lookup", "Lookup", "Pool", "Pool"]
    assert node(graph, "l").params.alpha == 0.25
    assert node(graph, "c").inputs == ("a", "a")


def test_a_missing_zero_point_is_zero_of_the_operand_s_type() -> None:
    graph = read("y = com.microsoft.QLinearAdd(x, sx, , x, sx, , sy, )")
    assert graph.qparams["x"] == QParams(QType(8, False), np.float32(0.5))
    assert graph.qparams["y"] == QParams(QType(8, False), np.float32(0.25))


def test_codes_read_with_other_parameters_keep_their_codes() -> None:
    graph = read(f"y = com.microsoft.QLinearAdd({X}, x, {Y}, {Y})")
    assert kinds(graph) == ["Move", "Elementwise"]
    assert node(graph, "y").inputs == ("x", "y.input3")


GEMM, POOL = "com.microsoft.QGemm", "com.microsoft.QLinearGlobalAveragePool"


@pytest.mark.parametrize(("body", "rule"), [
    (f"y = {GEMM} <alpha = 2.0> ({X}, m, sw, zw, b, {Y})", "QGemm has alpha 1"),
    (f"y = {GEMM} ({X}, m, sw, zw)", "QGemm writes codes"),
    (f"y = {POOL} <channels_last = 1> ({X}, {Y})", "tensors are channels first"),
    (f"y = QLinearConv(x, s2, z2, w, sw, zw, {Y})", "an operand has one scale"),
    (f"y = QLinearConv({X}, w, sw4, zw2, {Y})", "scale and zero point have the same shape"),
    (f"y = QLinearConv({X}, x, sw, zx, {Y})", "input 3 is constant"),
    (f"d = DequantizeLinear({X})\ny = com.microsoft.QLinearSigmoid(d, sx, zx, {Y})",
     "input 0 is codes"),
])  # fmt: skip
def test_what_is_refused(body: str, rule: str) -> None:
    constants = {"s2": np.float32([1, 2]), "z2": np.uint8([1, 2]), "zw2": np.int8([1, 2])}
    with pytest.raises(UnsupportedError, match=rf"node y .*: {rule}"):
        read(body, **constants)
