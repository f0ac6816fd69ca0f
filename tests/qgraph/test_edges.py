"""What an integer edge is fed: codes as they are, float32 by law 1, everything else refused."""

from __future__ import annotations

import numpy as np
import pytest

from deployq.errors import InputError
from deployq.qgraph import read_graph
from deployq.qgraph.edges import (
    as_codes,
    changes_container,
    code_tensor,
    feed,
    integer_inputs,
    with_ranges,
)
from deployq.qparams import QParams
from deployq.qtypes import QType
from tests.exporters.graphs import parse


def params(name: str, *, narrow: bool = False, zero_point: int = 0) -> QParams:
    qtype = QType.parse(name, narrow_range=narrow)
    return QParams(qtype, np.asarray(0.5, np.float32), np.asarray(zero_point))


def test_float32_is_quantized_and_codes_stay() -> None:
    edge = params("s8", zero_point=-3)
    reals = np.array([[-0.75, 0.25, 1000.0]], np.float32)  # ties to even, saturates
    np.testing.assert_array_equal(as_codes("x", reals, edge), [[-5, -3, 127]])
    codes = np.array([[-128, 5, 127]], np.int8)
    assert as_codes("x", codes, edge) is codes


@pytest.mark.parametrize(
    ("array", "edge", "found", "step"),
    [
        (np.zeros(3, np.float64), params("u8"), "float64", "save codes as numpy.uint8"),
        (np.zeros(3, np.int64), params("u8"), "int64", "save codes as numpy.uint8"),
        (np.zeros(3, bool), params("u8"), "bool", "save codes as numpy.uint8"),
        (np.zeros(3, np.int8), params("u8"), "int8", "save codes as numpy.uint8"),
        (np.zeros(3, np.uint8), params("s8"), "uint8", "a pixel p is code p - 128"),
        (np.full(3, 8, np.int8), params("s4"), "codes 0..8", "numpy.int8"),
        (np.full(3, 16, np.uint8), params("u4"), "codes 0..16", "numpy.uint8"),
        (np.full(3, -128, np.int8), params("s8", narrow=True), "codes -128..0", "numpy.int8"),
    ],
    ids=str,
)
def test_what_is_no_code_is_refused(
    array: np.ndarray, edge: QParams, found: str, step: str
) -> None:
    with pytest.raises(InputError, match=r"input x: .*takes codes") as caught:
        as_codes("x", array, edge)
    assert caught.value.found == found and step in caught.value.next_step
    assert f"in {edge.qtype.qmin}..{edge.qtype.qmax}" in caught.value.allowed


def test_pixels_become_signed_codes_as_the_error_says() -> None:
    pixels = np.arange(256, dtype=np.uint8)
    np.testing.assert_array_equal((pixels ^ 128).view(np.int8), pixels.astype(int) - 128)


GRAPH = """(int8[N,2] x, float[N,2] r) => (uint8[N,2] y, float[N,2] q)
    <float s = {0.5}, int8 z = {1}, uint8 w = {129}, float t = {0.25}>
    { a = DequantizeLinear(x, s, z)  y = QuantizeLinear(a, s, w)  b = DequantizeLinear(y, s, w)
      c = QuantizeLinear(b, t, w)  d = DequantizeLinear(c, t, w)
      e = QuantizeLinear(r, s, z)  q = DequantizeLinear(e, s, z) }"""


def test_a_graph_knows_its_edges() -> None:
    graph = read_graph(parse(GRAPH))
    assert integer_inputs(graph) == {"x": params("s8", zero_point=1)}
    inputs = {"x": np.ones((1, 2), np.float32), "r": np.ones((1, 2), np.float32)}
    fed = feed(graph, inputs)
    np.testing.assert_array_equal(fed["x"], [[3, 3]])
    assert fed["r"] is inputs["r"]
    named = {node.output: changes_container(graph, node) for node in graph.nodes}
    assert named["y"] and not named["c"] and not named["e"]
    assert code_tensor(graph, "x") == "x"


def test_ranges_are_taken_from_the_same_grid_only() -> None:
    graph = read_graph(parse(GRAPH))
    narrow = params("s8", narrow=True, zero_point=1)
    assert with_ranges(graph, {"x": narrow}).qparams["x"] == narrow
    other = params("s8", narrow=True, zero_point=2)
    assert with_ranges(graph, {"x": other}).qparams == graph.qparams
