"""A tensor times its own Sigmoid is one function, where a contract says so."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx
import pytest

from deployq.arithmetic.contract import QDQ, Form, Kind
from deployq.arithmetic.oracle.lookup import lookup_table
from deployq.arithmetic.requant_words import Gating
from deployq.qgraph import read_graph
from deployq.qgraph.gates import gates_joined
from deployq.simulator import run_graph
from tests.exporters.graphs import parse

JOINED = replace(QDQ, by_op={"Mul": Form(Kind.EXACT, gating=Gating.JOINED)})
GATE = "s = QuantizeLinear(g, t, z)  sd = DequantizeLinear(s, t, z)"
SIGMOID = f"g = Sigmoid(xd)  {GATE}"
MUL = "m = Mul(xd, sd)  y = QuantizeLinear(m, u, q)"
MOVED = "r = {}(sd)  n = QuantizeLinear(r, t, z)  nd = DequantizeLinear(n, t, z)"


def file(body: str) -> onnx.ModelProto:
    return parse(f"""(uint8[1,16,16] x) => (uint8[1,16,16] y, uint8[1,16,16] s)
        <float xs = {{0.05}}, uint8 xz = {{128}}, float t = {{0.006}}, uint8 z = {{3}},
         float u = {{0.03}}, uint8 q = {{20}}, float low = {{0.1}}, float high = {{0.8}}>
        {{ xd = DequantizeLinear(x, xs, xz)  {body} }}""")


def operators(body: str) -> list[str]:
    return [node.op_type for node in gates_joined(read_graph(file(body)), JOINED).nodes]


@pytest.mark.parametrize(
    "body",
    [
        f"{SIGMOID}  {MUL}",
        f"{SIGMOID}  m = Mul(sd, xd)  y = QuantizeLinear(m, u, q)",
        f"{SIGMOID}  xe = DequantizeLinear(x, xs, xz)"
        "  m = Mul(xe, sd)  y = QuantizeLinear(m, u, q)",
    ],
)
def test_a_tensor_times_its_own_sigmoid_is_a_swish_and_the_sigmoid_stays(body: str) -> None:
    assert operators(body) == ["Sigmoid", "Swish"]


@pytest.mark.parametrize(
    "body",
    [
        f"{SIGMOID}  c = Mul(xd, sd)  m = Clip(c, low, high)  y = QuantizeLinear(m, u, q)",
        f"f = Sigmoid(xd)  g = Clip(f, low, high)  {GATE}  {MUL}",
        f"g = HardSigmoid(xd)  {GATE}  {MUL}",
        f"{SIGMOID}  {MOVED.format('Transpose<perm = [0, 2, 1]>')}"
        "  m = Mul(xd, nd)  y = QuantizeLinear(m, u, q)",
        f"{SIGMOID}  m = Add(xd, sd)  y = QuantizeLinear(m, u, q)",
        f"{SIGMOID}  m = Mul(sd, sd)  y = QuantizeLinear(m, u, q)",
    ],
)
def test_other_products_stay(body: str) -> None:
    graph = read_graph(file(body))
    assert gates_joined(graph, JOINED) is graph


def test_other_contracts_have_the_graph_as_it_is() -> None:
    graph = read_graph(file(f"{SIGMOID}  {MUL}"))
    assert gates_joined(graph, QDQ) is graph


def test_codes_are_those_of_one_function_whatever_the_gate_rounds_to() -> None:
    graph = read_graph(file(f"{SIGMOID}  {MUL}"))
    x = np.arange(256, dtype=np.uint8).reshape(1, 16, 16)
    wanted = lookup_table("Swish", graph.qparams["x"], graph.qparams["y"])
    found = run_graph(graph, JOINED, {"x": x})
    np.testing.assert_array_equal(found.codes["y"].numpy().ravel(), wanted)
    apart = run_graph(graph, QDQ, {"x": x})
    np.testing.assert_array_equal(found.codes["s"], apart.codes["s"])
    assert (apart.codes["y"] != found.codes["y"]).sum() > 20
