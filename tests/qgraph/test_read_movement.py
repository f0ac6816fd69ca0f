"""Operators that move codes, with and without a QuantizeLinear behind them, and folded shapes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from deployq.errors import UnsupportedError
from deployq.qgraph import read_graph
from tests.qgraph.texts import kinds, model, node, qdq, read

ONE_GRID: dict[str, Any] = {"sy": np.float32(0.5), "zy": np.uint8(3)}


def moved(body: str, **options: Any) -> Any:
    """The only node of a body that keeps the grid of its input."""
    graph = read(body, **(ONE_GRID | options))
    assert kinds(graph) == ["Quantize", "Move", "Dequantize"]
    return node(graph, "yq")


@pytest.mark.parametrize(("body", "facts"), [
    ("v = Transpose <perm = [0, 2, 3, 1]> (xd)", {"perm": [0, 2, 3, 1]}),
    ("v = Transpose(xd)", {"perm": None}),
    ("v = Flatten <axis = 2> (xd)", {"axis": 2}),
    ("v = Squeeze(xd, axes)", {"axes": [2, 3]}),
    ("v = Unsqueeze(xd, axes)", {"axes": [2, 3]}),
    ("v = Slice(xd, two, four)", {"starts": [2], "ends": [4], "axes": [0], "steps": [1]}),
    ("v = Slice(xd, two, four, one, two)",
     {"starts": [2], "ends": [4], "axes": [1], "steps": [2]}),
    ("v = Reshape(xd, shape64)", {"shape": [0, -1]}),
    ("v = Pad(xd, pads)", {"pads": [0, 0, 1, 2, 0, 0, 3, 4], "axes": None, "mode": "constant",
                           "value": None, "real": 0.0}),
    ('v = Pad <mode = "edge"> (xd, pads)',
     {"pads": [0, 0, 1, 2, 0, 0, 3, 4], "axes": None, "mode": "edge", "value": None, "real": 0.0}),
    ("v = Dropout(xd)", {}),
])  # fmt: skip
def test_facts_of_a_move(body: str, facts: dict[str, Any]) -> None:
    axes = {"axes": np.int64([2, 3]), "two": np.int64([2]), "four": np.int64([4])}
    shapes = {"shape64": np.int64([0, -1]), "pads": np.int64([0, 0, 1, 2, 0, 0, 3, 4])}
    shape = "N,3,1,1" if "Squeeze" in body else "N,3,8,8"
    assert moved(body, shape=shape, one=np.int64([1]), **axes, **shapes).attributes == facts


def test_attributes_of_old_opsets() -> None:
    options = {"opset": 10, "shape": "1,3,8,8"}
    squeeze = "v = Squeeze <axes = [0]> (xd)"
    assert moved(squeeze, **options).attributes == {"axes": [0]}
    body = "v = Pad <pads = [0, 0, 1, 1, 0, 0, 1, 1]> (xd)"
    assert moved(body, **options).attributes["pads"] == [0, 0, 1, 1, 0, 0, 1, 1]


def test_a_move_to_other_parameters_is_rescaled() -> None:
    graph = read("v = Flatten(xd)", out="N,C")
    assert kinds(graph) == ["Quantize", "Move", "Rescale", "Dequantize"]
    assert node(graph, "yq").inputs == ("yq.moved",)
    assert graph.qparams["yq.moved"] == graph.qparams["xq"]


def test_a_move_needs_no_quantizer() -> None:
    graph = read("f = Flatten(xd)\nwd = DequantizeLinear(k, sw, zw)\nv = Gemm(f, wd)",
                 shape="N,3", out="N,4", k=np.ones((3, 4), np.int8))  # fmt: skip
    assert kinds(graph) == ["Quantize", "Move", "Linear", "Dequantize"]
    assert node(graph, "yq").inputs == ("f.codes",)


def test_a_made_up_name_is_not_one_of_the_file() -> None:
    graph = read_graph(model("""g (float[N] x) => (float[N,1] y, float[N,1] z) {
        q = QuantizeLinear(x, sx, zx)
        d = DequantizeLinear(q, sx, zx)
        y = Flatten(d)
        y.codes = QuantizeLinear(y, sy, zy)
        z = DequantizeLinear(y.codes, sy, zy)
    }""".replace("y.codes", '"y.codes"')))  # fmt: skip
    assert len({n.output for n in graph.nodes}) == len(graph.nodes)


def test_codes_are_moved_where_they_are() -> None:
    graph = read_graph(
        model(
            """g (float[N,3,8,8] x) => (float[N,C] y) {
        q = QuantizeLinear(x, sx, zx)
        p = Pad(q, pads, seven)
        m = MaxPool <kernel_shape = [2, 2]> (p)
        f = Flatten(m)
        y = DequantizeLinear(f, sx, zx)
    }""",
            pads=np.int64([0, 0, 1, 1, 0, 0, 1, 1]),
            seven=np.uint8(7),
        )
    )
    assert kinds(graph) == ["Quantize", "Move", "Pool", "Move", "Dequantize"]
    assert node(graph, "p").attributes["value"] == 7
    assert graph.qparams["f"] == graph.qparams["q"]


@pytest.mark.parametrize("last", ["Concat <axis = 0> (n, minus)", "Concat <axis = 0> (n, size)"])
def test_a_shape_that_is_computed_from_the_batch_folds(last: str) -> None:
    body = f"""s = Shape(xd)
        i = Gather(s, zero)
        n = Unsqueeze(i, zeros)
        r = {last}
        r64 = Cast <to = 7> (r)
        v = Reshape(xd, r64)"""
    constants = {"zero": np.int64(0), "zeros": np.int64([0]), "minus": np.int64([-1])}
    found = moved(body, size=np.int64([192]), **constants).attributes["shape"]
    assert found == [0, 192 if "size" in last else -1]


@pytest.mark.parametrize("axes", ["", ", zeros"], ids=["all", "stated"])
def test_a_size_that_is_squeezed_out_of_a_shape_folds(axes: str) -> None:
    body = f"""s = Shape <start = 0, end = 1> (xd)
        n = Squeeze(s{axes})
        u = Unsqueeze(n, zeros)
        r = Concat <axis = 0> (u, minus)
        v = Reshape(xd, r)"""
    constants = {"zeros": np.int64([0]), "minus": np.int64([-1])}
    assert moved(body, **constants).attributes["shape"] == [0, -1]


def test_a_batch_that_moves_is_inferred() -> None:
    body = """s = Shape <start = 0, end = 1> (xd)
        r = Concat <axis = 0> (size, s)
        v = Reshape(xd, r)"""
    assert moved(body, size=np.int64([192])).attributes == {"shape": [192, -1]}


def test_parts_of_one_grid_join_without_a_quantizer() -> None:
    graph = read("j = Concat <axis = 1> (xd, xd)\nv = Sigmoid(j)")
    assert kinds(graph) == ["Quantize", "Concat", "Lookup", "Dequantize"]
    assert graph.qparams["j.codes"] == graph.qparams["xq"]


TWO_GRIDS = """g (float[N,3] x) => (float[N,6] y) {
    q = QuantizeLinear(x, sx, zx)
    p = QuantizeLinear(x, sy, zy)
    a = DequantizeLinear(q, sx, zx)
    b = DequantizeLinear(p, sy, zy)
    %s
    y = DequantizeLinear(j, sx, zx)
}"""


def test_parts_of_two_grids_join_before_a_quantizer() -> None:
    body = "c = Concat <axis = -1> (a, b)\nj = QuantizeLinear(c, sx, zx)"
    join = node(read_graph(model(TWO_GRIDS % body)), "j")
    assert (join.inputs, join.axis) == (("q", "p"), -1)


@pytest.mark.parametrize(("body", "rule"), [
    ("j = Concat <axis = -1> (q, p)", r"node j \(Concat\): codes that are joined have the same"),
])  # fmt: skip
def test_parts_of_two_grids_need_a_quantizer(body: str, rule: str) -> None:
    with pytest.raises(UnsupportedError, match=rule):
        read_graph(model(TWO_GRIDS % body))


@pytest.mark.parametrize(("body", "rule"), [
    ("v = Squeeze(xd)", r"(?s)node v \(Squeeze\): Squeeze states its axes.*next: state the axes"),
    ("v = Pad(xd, pads, one)", r"node v \(Pad\): Pad adds the real zero"),
    ('v = Pad <mode = "wrap"> (xd, pads)', r"node v \(Pad\): Pad has a mode that moves"),
    ("v = Slice(xd, last, first, axis, back)", r"node v \(Slice\): Slice goes forward"),
    ("v = Reshape <allowzero = 1> (xd, empty)", r"node v \(Reshape\): Reshape has a"),
    ("v, mask = Dropout(xd, half, train)", r"node v \(Dropout\): Dropout does nothing"),
])  # fmt: skip
def test_moves_that_are_refused(body: str, rule: str) -> None:
    constants = {
        "pads": np.int64([0, 0, 1, 1, 0, 0, 1, 1]),
        "one": np.float32(1),
        "last": np.int64([3]),
        "first": np.int64([0]),
        "axis": np.int64([2]),
        "back": np.int64([-1]),
        "empty": np.int64([0, 8]),
        "half": np.float32(0.5),
        "train": np.bool_(True),
    }
    with pytest.raises(UnsupportedError, match=rule):
        read_graph(qdq(body, **constants))
