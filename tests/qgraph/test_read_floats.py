"""Operators in float: which are, what they read, and what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from deployq.errors import UnsupportedError
from deployq.qgraph import read_graph
from tests.qgraph.texts import kinds, model, qdq, read

FLOAT_CONV = np.ones((4, 3, 1, 1), np.float32)


@pytest.mark.parametrize(
    "body",
    [
        "v = Softmax <axis = 1> (xd)",
        "v = Sub(xd, xd)",
        "v = Erf(xd)",
        "v = Mul(xd, half)",  # a plain float constant has no codes
        "v = Conv(xd, wf)",
        'v = Resize <mode = "linear"> (xd, roi, twice)',
    ],
)
def test_between_codes_and_codes(body: str) -> None:
    graph = read(
        body,
        half=np.float32(0.5),
        wf=FLOAT_CONV,
        roi=np.float32([]),
        twice=np.float32([1, 1, 2, 2]),
    )
    assert kinds(graph) == ["Quantize", "Dequantize", "Float", "Quantize", "Dequantize"]
    (node,) = graph.floats
    assert (node.name, set(node.inputs), node.output) == ("v", {"xd"}, "v")


@pytest.mark.parametrize("axis", [-1, 3])
def test_softmax_over_the_last_axis_computes_on_codes(axis: int) -> None:
    graph = read(f"v = Softmax <axis = {axis}> (xd)")
    assert kinds(graph) == ["Quantize", "Softmax", "Dequantize"]
    with_old_meaning = read_graph(qdq(f"v = Softmax <axis = {axis}> (xd)", opset=12))
    assert "Softmax" not in kinds(with_old_meaning)


@pytest.mark.parametrize("mask", [np.float32(-1), np.full((1, 1, 1, 1), -1, np.float32)])
def test_a_constant_beside_a_product_of_activations_is_no_bias(mask: Any) -> None:
    graph = read("p = MatMul(xd, xd)\nm = Add(p, c)\nv = Softmax(m)", c=mask)
    assert [node.op_type for node in graph.floats] == ["Add", "Softmax"]
    assert [node.op_type for node in graph.in_reals] == ["MatMul", "Add", "Softmax"]


def test_what_reads_reals_runs_in_float_too() -> None:
    graph = read("a = Softmax(xd)\nb = Relu(a)\nc = Flatten(b)\nv = Add(c, c)", out="N,C")
    assert [node.op_type for node in graph.floats] == ["Softmax", "Relu", "Flatten", "Add"]
    assert kinds(graph)[:2] == ["Quantize", "Dequantize"]


def test_a_sum_of_codes_and_a_real_input_runs_in_float() -> None:
    text = """g (float[N] x) => (float[N] y) {
        xq = QuantizeLinear(x, sx, zx)
        xd = DequantizeLinear(xq, sx, zx)
        y = Add(xd, x)
    }"""
    assert kinds(read_graph(model(text))) == ["Quantize", "Dequantize", "Float"]


def test_a_graph_without_codes_is_all_float() -> None:
    graph = read_graph(model("g (float[N] x) => (float[N] y) { a = Tanh(x)\ny = Relu(a) }"))
    assert kinds(graph) == ["Float", "Float"]


@pytest.mark.parametrize(
    ("body", "floats"),
    [
        ("a = Conv(xd, wd)\nv = Softmax(a)", ["Conv", "Softmax"]),
        ("a = Conv(xd, wd)\nb = Relu(a)\nv = Erf(b)", ["Conv", "Relu", "Erf"]),
        ("a = Sigmoid(xd)\nv = Tanh(a)", ["Sigmoid", "Tanh"]),
        ("a = GlobalAveragePool(xd)\nv = Reshape(a, target)", ["GlobalAveragePool", "Reshape"]),
        ("a = Conv(xd, wd)\nv = Add(a, a)", ["Conv", "Add"]),
    ],
)
def test_what_another_reads_without_a_quantizer_runs_in_float(body: str, floats: list[str]) -> None:
    body = f"wd = DequantizeLinear(w, sw, zw)\n{body}"
    graph = read_graph(qdq(body, target=np.int64([0, 3])))
    assert [node.op_type for node in graph.floats] == floats


def test_a_bias_after_a_product_is_part_of_it() -> None:
    body = "wd = DequantizeLinear(w, sw, zw)\na = Conv(xd, wd)\nv = Add(a, one)"
    assert not read_graph(qdq(body, one=np.float32(1.0))).floats


def test_reals_are_made_once() -> None:
    graph = read("a = Softmax(xd)\nb = Erf(xd)\nv = Sub(a, b)")
    assert kinds(graph).count("Dequantize") == 2  # xd, and the output


def test_a_real_output() -> None:
    text = """g (float[N,3] x) => (float[N,3] y) {
        q = QuantizeLinear(x, sx, zx)
        d = DequantizeLinear(q, sx, zx)
        y = Softmax(d)
    }"""
    graph = read_graph(model(text))
    assert (graph.outputs, kinds(graph)) == (("y",), ["Quantize", "Dequantize", "Float"])


@pytest.mark.parametrize(
    ("body", "rule"),
    [
        ("v, u = Split <num_outputs = 2> (xd)", "an operator in float has one output"),
    ],
)
def test_refusals(body: str, rule: str) -> None:
    body = f"wd = DequantizeLinear(w, sw, zw)\n{body}"
    with pytest.raises(UnsupportedError, match=rf"(?s){rule}.*next: "):
        read_graph(qdq(body, opset=18))
