"""Sums that join the layer before them: read as one where asked, and nowhere else."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from deployq.arithmetic.contract import QDQ
from deployq.errors import InputError
from deployq.qgraph import IntegerGraph, read_graph
from deployq.qgraph.nodes import Linear
from deployq.simulator import run_graph
from tests.qgraph.texts import kinds, model

ADDEND = "ad = DequantizeLinear(a, sy, zy)"
LAYER = "v = Conv(xd, wd, bd)"
WHOLE = f"{LAYER} {ADDEND} t = Add(v, ad) r = Relu(t)"


def joined(body: str, *, joins_sums: bool = True, addend: str = "N,4,2,2") -> IntegerGraph:
    text = f"""net (uint8[N,3,2,2] x, uint8[{addend}] a) => (uint8[N,4,2,2] y) {{
        xd = DequantizeLinear(x, sx, zx)
        wd = DequantizeLinear(w, sw, zw)
        bd = DequantizeLinear(b, sb, zb)
        {body}
        y = QuantizeLinear(r, sy, zy)
        last = DequantizeLinear(y, sy, zy)
    }}"""
    return read_graph(model(text), joins_sums=joins_sums)


@pytest.mark.parametrize("total", ["t = Add(v, ad)", "t = Add(ad, v)"])
def test_the_sum_is_part_of_the_layer(total: str) -> None:
    graph = joined(f"{LAYER} {ADDEND} {total} r = Relu(t)")
    (node,) = (node for node in graph.nodes if isinstance(node, Linear))
    assert (node.inputs, node.addend, node.output) == (("x", "a"), "a", "y")
    assert node.bounds == (5, 255) and not graph.floats
    assert kinds(graph).count("Elementwise") == 0


def test_elsewhere_both_run_in_float() -> None:
    assert [node.op_type for node in joined(WHOLE, joins_sums=False).floats] == [
        "Conv",
        "Add",
        "Relu",
    ]


def test_one_rounding() -> None:
    draw, graph = np.random.default_rng(0), joined(WHOLE)
    x, a = (draw.integers(0, 256, (2, c, 2, 2), dtype=np.uint8) for c in (3, 4))
    node = next(node for node in graph.nodes if isinstance(node, Linear))
    sums = np.einsum("oc,ncij->noij", node.weight[:, :, 0, 0], x.astype(np.int64) - 3)
    assert node.bias is not None
    reals = (sums + node.bias[:, None, None]) * 0.0625 + (a.astype(np.int64) - 5) * 0.25
    wanted = np.rint(np.maximum(reals, 0) / 0.25).clip(0, 250) + 5
    found = run_graph(graph, QDQ, {"x": x, "a": a}).codes["y"]
    assert torch.equal(found.long(), torch.from_numpy(wanted).long())


@pytest.mark.parametrize(
    ("body", "addend"),
    [
        (f"{LAYER} {ADDEND} c = Relu(v) t = Add(c, ad) r = Relu(t)", "N,4,2,2"),  # clamped before
        (f"{LAYER} {ADDEND} t = Add(v, ad) r = Relu(t)", "N,4,1,1"),  # broadcast
        (f"{LAYER} {ADDEND} t = Mul(v, ad) r = Relu(t)", "N,4,2,2"),
        (f"{LAYER} {ADDEND} t = Add(v, ad) u = Add(t, ad) r = Relu(u)", "N,4,2,2"),  # a second one
    ],
)
def test_what_joins_nothing(body: str, addend: str) -> None:
    graph = joined(body, addend=addend)
    assert graph.floats and not any(
        isinstance(node, Linear) and node.addend for node in graph.nodes
    )


def test_a_sum_that_float_operators_read_is_in_float_beside_its_layer() -> None:
    text = """net (uint8[N,3] x, uint8[N,4] a) => (float[N,4] y) {
        xd = DequantizeLinear(x, sx, zx)
        md = DequantizeLinear(m, sw, zw)
        v = MatMul(xd, md)
        ad = DequantizeLinear(a, sy, zy)
        t = Add(v, ad)
        y = Exp(t)
    }"""
    graph = read_graph(model(text), joins_sums=True)
    (layer,) = (node for node in graph.nodes if isinstance(node, Linear))
    assert layer.in_reals and layer.addend is None
    assert [node.op_type for node in graph.floats] == ["Add", "Exp"]


def test_shapes_that_differ_are_refused() -> None:
    graph, x = joined(WHOLE), np.zeros((1, 3, 2, 2), np.uint8)
    with pytest.raises(InputError, match="as the sums that it joins"):
        run_graph(graph, QDQ, {"x": x, "a": np.zeros((1, 4, 2, 1), np.uint8)})
