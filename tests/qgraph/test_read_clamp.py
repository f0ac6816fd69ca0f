"""Relu and Clip before a quantizer, on dequantized codes, and on codes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from deployq.errors import UnsupportedError
from deployq.qgraph import read_graph
from tests.qgraph.texts import kinds, model, node, qdq, read

ADD = "a = Add(xd, xd)\n"
LIMITS: dict[str, Any] = {"low": np.float32(-0.5), "high": np.float32(2.0)}


def bounds(body: str, **constants: Any) -> Any:
    graph = read(ADD + body, **(LIMITS | constants))
    assert kinds(graph) == ["Quantize", "Elementwise", "Dequantize"]
    return node(graph, "yq").bounds


@pytest.mark.parametrize(("body", "expected"), [
    ("v = Relu(a)", (5, 255)),
    ("v = Clip(a, low, high)", (3, 13)),
    ("v = Clip(a, , high)", (0, 13)),
    ("v = Clip(a)", None),
    ("r = Relu(a)\nv = Clip(r, low, high)", (5, 13)),
    ("r = Clip(a, low, high)\nv = Relu(r)", (5, 13)),
])  # fmt: skip
def test_a_clamp_narrows_the_codes(body: str, expected: tuple[int, int] | None) -> None:
    assert bounds(body) == expected  # scale 1/4, zero point 5


def test_a_redundant_relu_leaves_the_whole_type() -> None:
    assert bounds("v = Relu(a)", zy=np.uint8(0)) is None


def test_clamps_that_do_not_meet_leave_one_code() -> None:
    body = "r = Clip(a, low, high)\nv = Clip(r, above)"
    assert bounds(body, above=np.float32(4.0)) == (21, 21)


def test_a_clip_states_an_odd_width() -> None:
    low, high = np.float32(-5 / 4), np.float32((31 - 5) / 4)  # five bits, zero point 5
    assert bounds("v = Clip(a, low, high)", low=low, high=high) == (0, 31)


def test_a_clip_of_the_input_bounds_its_codes() -> None:
    graph = read_graph(
        model(
            """g (float[N] x) => (uint8[N] y) {
        c = Clip(x, low, high)
        y = QuantizeLinear(c, sy, zy)
    }""",
            **LIMITS,
        )
    )
    assert node(graph, "y").bounds == (3, 13)


def test_one_operator_feeds_a_clamped_and_a_free_quantizer() -> None:
    graph = read_graph(
        model("""g (float[N] x) => (uint8[N] y, uint8[N] z) {
        q = QuantizeLinear(x, sx, zx)
        d = DequantizeLinear(q, sx, zx)
        a = Add(d, d)
        r = Relu(a)
        y = QuantizeLinear(r, sy, zy)
        z = QuantizeLinear(a, sy, zy)
    }""")
    )
    assert (node(graph, "y").bounds, node(graph, "z").bounds) == ((5, 255), None)


def test_relu_and_clip_of_codes_are_tables() -> None:
    graph = read("r = Clip(xd, low, high)\nv = Relu(r)", **LIMITS)
    lookup = node(graph, "yq")
    assert (type(lookup).__name__, lookup.op_type, lookup.bounds) == ("Lookup", "Clip", (5, 255))
    assert (lookup.params.low, lookup.params.high) == (-0.5, 2.0)


def test_relu_of_moved_codes_bounds_the_move() -> None:
    graph = read("m = Flatten(xd)\nv = Relu(m)", out="N,C", sy=np.float32(0.5), zy=np.uint8(3))
    assert kinds(graph) == ["Quantize", "Move", "Dequantize"]
    assert node(graph, "yq").bounds == (3, 255)


QCDQ = """g (float[N] x) => (float[N] y) {
    q = QuantizeLinear(x, sx, z8)
    c = Clip(q, low8, high8)
    y = DequantizeLinear(c, sx, z8)
}"""


@pytest.mark.parametrize("width", [3, 4, 8])
def test_qcdq_clips_codes(width: int) -> None:
    low, high = np.int8(-(2 ** (width - 1))), np.int8(2 ** (width - 1) - 1)
    graph = read_graph(model(QCDQ, z8=np.int8(0), low8=low, high8=high))
    assert kinds(graph) == ["Quantize", "Move", "Dequantize"]
    assert node(graph, "c").bounds == (low, high)
    assert graph.qparams["c"] == graph.qparams["q"]


def test_qcdq_clips_constant_codes() -> None:
    body = """wc = Clip(w, low8, high8)
        wd = DequantizeLinear(wc, sw, zw)
        v = Conv(xd, wd)"""
    weight = node(read(body, low8=np.int8(-4), high8=np.int8(3)), "yq").weight
    assert (weight.min(), weight.max()) == (-4, 3)


def test_an_empty_clip_is_refused() -> None:
    with pytest.raises(UnsupportedError, match=r"node v \(Clip\): min is at most max"):
        read_graph(qdq(ADD + "v = Clip(a, high, low)", **LIMITS))


def test_a_computed_limit_is_refused() -> None:
    with pytest.raises(UnsupportedError, match=r"node v \(Clip\): input 1 is constant"):
        read("v = Clip(xd, xd)")
