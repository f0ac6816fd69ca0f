"""Elementwise operators, pools, joins and functions; constants as operands."""

from __future__ import annotations

import numpy as np
import pytest

from deployq.errors import UnsupportedError
from deployq.qgraph import (
    clamp,
    folding,
    linear,
    movement,
    operators,
    qdq,
    qoperator,
    read_graph,
)
from deployq.qgraph.reader import HANDLERS
from tests.qgraph.texts import model, node, read


@pytest.mark.parametrize("operator", ["Add", "Mul"])
def test_a_constant_operand_is_a_tensor_of_codes(operator: str) -> None:
    graph = read(f"cd = DequantizeLinear(c, sy, zy)\nv = {operator}(cd, xd)", shape="N,3,8")
    made = node(graph, "yq")
    assert (type(made).__name__, made.op_type) == ("Elementwise", operator)
    assert made.inputs == ("cd.codes", "xq")
    np.testing.assert_array_equal(graph.constants["cd.codes"], [[7], [8], [9]])
    assert graph.qparams["cd.codes"] == graph.qparams["yq"]


def test_a_constant_may_change_its_shape() -> None:
    body = """cd = DequantizeLinear(c, sy, zy)
        u = Unsqueeze(cd, axis)
        v = Mul(xd, u)"""
    graph = read(body, axis=np.int64([0]), shape="N,3,8")
    assert graph.constants["u.codes"].shape == (1, 3, 1)


def test_a_constant_with_several_scales_is_refused() -> None:
    body = "cd = DequantizeLinear <axis = 0> (c, s3)\nv = Mul(xd, cd)"
    with pytest.raises(UnsupportedError, match=r"node v \(Mul\): an operand has one scale"):
        read(body, s3=np.float32([1, 2, 3]), shape="N,3,8")


def test_pools() -> None:
    graph = read("""a = AveragePool <kernel_shape = [2, 3], count_include_pad = 1,
                                     pads = [1, 0, 0, 2], strides = [2, 1]> (xd)
        aq = QuantizeLinear(a, sx, zx)
        ad = DequantizeLinear(aq, sx, zx)
        v = GlobalAveragePool(ad)""")
    pool, last = node(graph, "aq").geometry, node(graph, "yq")
    assert (pool.kernel, pool.strides, pool.pads) == ((2, 3), (2, 1), (1, 0, 0, 2))
    assert pool.count_include_pad
    assert (last.op_type, last.geometry) == ("GlobalAveragePool", None)


def test_functions_keep_their_attributes() -> None:
    lookup = node(read("v = HardSigmoid <alpha = 0.5> (xd)"), "yq")
    assert (lookup.op_type, lookup.params.alpha, lookup.params.beta) == ("HardSigmoid", 0.5, None)


def test_nodes_keep_their_names() -> None:
    text = """g (float[N] x) => (uint8[N] y) {
        q = QuantizeLinear(x, sx, zx)
        d = DequantizeLinear(q, sx, zx)
        v = Tanh(d)
        y = QuantizeLinear(v, sy, zy)
    }"""
    made = model(text)
    made.graph.node[2].name = "squash"
    assert node(read_graph(made), "y").name == "squash"


def test_an_operator_of_another_domain_without_an_integer_form_is_refused() -> None:
    rule = r"(?s)node v \(com.microsoft::Gelu\): an operator has an integer form.*next: quantize"
    with pytest.raises(UnsupportedError, match=rule):
        read("v = com.microsoft.Gelu(xd)")


def test_every_operator_has_one_reader() -> None:
    modules = (clamp, folding, linear, movement, operators, qdq, qoperator)
    assert sum(len(module.HANDLERS) for module in modules) == len(HANDLERS)
