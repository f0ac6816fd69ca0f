"""Which codes a file leaves to its tensors, against what the simulator gives for all inputs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from deployq.arithmetic.contract import QDQ
from deployq.arithmetic.intervals import Interval
from deployq.qgraph.ranges import code_ranges
from deployq.simulator import run_graph
from tests.qgraph.texts import model, qdq, read, read_graph

SAME: dict[str, Any] = {"sy": np.float32(0.5), "zy": np.uint8(3)}  # parameters of x
LIMITS = {f"r{real}": np.float32(real) for real in (1, 3, 4)}
PADS = np.int64([0, 0, 1, 1, 0, 0, 1, 1])
NARROWED = """c = Clip(xd, r1, r3)
    cq = QuantizeLinear(c, sx, zx)
    cd = DequantizeLinear(cq, sx, zx)
    e = Clip(xd, r3, r4)
    eq = QuantizeLinear(e, sx, zx)
    ed = DequantizeLinear(eq, sx, zx)
"""


@pytest.mark.parametrize(
    ("body", "codes"),
    [
        ("v = Relu(xd)", (3, 255)),
        ("v = Sigmoid(xd)", (0, 255)),  # the contract says how it is computed
        ("v = HardSigmoid(xd)", (3, 5)),
        (NARROWED + "v = Flatten(cd)", (5, 9)),
        (NARROWED + "v = MaxPool <kernel_shape = [2, 2], pads = [1, 1, 1, 1]> (cd)", (5, 9)),
        (NARROWED + "v = AveragePool <kernel_shape = [2, 2]> (cd)", (0, 255)),
        (NARROWED + "v = Concat <axis = 1> (cd, ed)", (5, 11)),
        (NARROWED + "v = Concat <axis = 1> (cd, xd)", (0, 255)),
        (NARROWED + "v = Pad(cd, pads)", (3, 9)),
        (NARROWED + 'v = Pad <mode = "edge"> (cd, pads)', (5, 9)),
    ],
)
def test_what_a_tensor_can_hold(body: str, codes: tuple[int, int]) -> None:
    graph = read(body, pads=PADS, out="A,B" if "Flatten" in body else "A,B,C,D", **SAME, **LIMITS)
    ranges = code_ranges(graph)
    assert ranges["yq"] == Interval(*codes) and ranges["xq"] == Interval(0, 255)
    every = np.arange(-64, 192, dtype=np.float32).reshape(1, 1, 16, 16)
    found = run_graph(graph, QDQ, {"x": np.tile(every, (1, 3, 1, 1))}).codes
    for name, seen in found.items():
        assert ranges[name].low <= int(seen.min()) and int(seen.max()) <= ranges[name].high
    if codes != (0, 255):
        assert (int(found["yq"].min()), int(found["yq"].max())) == codes


def test_constants_and_clipped_inputs() -> None:
    text = """g (float[N,3] x) => (float[N,3] y) {
        r = Clip(x, r1, r3)
        xq = QuantizeLinear(r, sx, zx)
        xd = DequantizeLinear(xq, sx, zx)
        cd = DequantizeLinear(c, sx, zx)
        v = Add(xd, cd)
        yq = QuantizeLinear(v, sy, zy)
        y = DequantizeLinear(yq, sy, zy)
    }"""
    graph = read_graph(model(text, c=np.uint8([7, 8, 9]), **LIMITS))
    (constant,), ranges = graph.constants, code_ranges(graph)
    assert (ranges["xq"], ranges[constant]) == (Interval(5, 9), Interval(7, 9))


@pytest.mark.parametrize("body", ["v = Relu(xd)", "v = Pad(xd, pads)"])
def test_several_scales_narrow_nothing(body: str) -> None:
    grids = {"sx": np.float32([1, 2, 3]), "zx": np.uint8([1, 2, 3])}
    made = qdq(body, pads=PADS, out="A,B,C,D", **(grids | {"sy": grids["sx"], "zy": grids["zx"]}))
    graph = read_graph(made, as_stated=True)
    assert code_ranges(graph)["yq"] == Interval(0, 255)


def test_a_table_too_long_to_make_narrows_nothing() -> None:
    text = """g (int32[N] x) => (float[N] y) {
        xd = DequantizeLinear(x, s, z)
        v = Relu(xd)
        yq = QuantizeLinear(v, s, zy)
        y = DequantizeLinear(yq, s, zy)
    }"""
    graph = read_graph(model(text, s=np.float32(0.5), z=np.int32(0), zy=np.int8(0)))
    assert code_ranges(graph)["yq"] == Interval(-128, 127)
