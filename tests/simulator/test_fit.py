"""Operands that do not fit are refused before anything is computed; what fits has its shape."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from deployq.arithmetic.contract import QDQ
from deployq.errors import DeployqError, InputError
from deployq.qgraph import read_graph
from deployq.simulator import fit, run_graph
from tests.qgraph.texts import qdq
from tests.simulator.nets import LEVELS, session

LAYER = "wd = DequantizeLinear({}, sw, zw)\nv = {}"
MOVES: list[tuple[str, tuple[int, ...], str]] = [
    ("v = Reshape(xd, size)", (2, 3, 5, 5), "Reshape"),
    ("v = Flatten <axis = 3> (xd)", (2, 3), "Flatten"),
    ("v = Transpose <perm = [0, 2, 1]> (xd)", (2, 3), "Transpose"),
    ("v = Squeeze(xd, first)", (2, 3), "Squeeze"),
    ("v = Squeeze(xd, last)", (1, 3), "Squeeze"),
    ("v = Unsqueeze(xd, last)", (1, 3), "Unsqueeze"),
    ("v = Slice(xd, first, first, last)", (2, 3), "Slice"),
    ("v = Pad(xd, pads)", (2, 3), "Pad"),
    ("v = Pad(xd, crop)", (2, 3, 1, 1), "Pad"),
    ('v = Pad <mode = "reflect"> (xd, pads)', (2, 3, 2, 2), "Pad"),
    ("v = Resize(xd, , twice)", (2, 3), "Resize"),
]  # fmt: skip
OTHERS: list[tuple[str, tuple[int, ...], str]] = [
    (LAYER.format("w", "Conv(xd, wd)"), (1, 3, 4), r"node v \(Conv\), operands: shapes fit"),
    (LAYER.format("w", "Conv(xd, wd)"), (1, 4, 4, 4), r"node v \(Conv\), weight: weights have"),
    (LAYER.format("w", "Conv <dilations = [9, 9], kernel_shape = [1, 1]> (xd, wd)"),
     (1, 3, 0, 4), "no empty axis"),
    (LAYER.format("t", "ConvTranspose <pads = [3, 3, 3, 3]> (xd, wd)"), (1, 3, 2, 2), "window"),
    (LAYER.format("m", "Gemm(xd, wd)"), (2, 3, 3), r"node v \(Gemm\), operands: shapes fit"),
    (LAYER.format("m", "MatMul(xd, wd)"), (2, 4), r"allowed: \(\.\.\., 3\)"),
    (LAYER.format("m", "MatMul(xd, wd)"), (), "operands: shapes fit"),
    ("v = MatMul(xd, xd)", (2, 3), r"\(\.\.\., M, K\) and \(\.\.\., K, N\)"),
    ("v = MatMul(xd, xd)", (3,), r"node v \(MatMul\)"),
    ("cd = DequantizeLinear(c, sx, zx)\nv = Add(xd, cd)", (2, 4, 3), "shapes that broadcast"),
    ("v = AveragePool <kernel_shape = [2, 2]> (xd)", (1, 3, 4), r"allowed: \(N, C, H, W\)"),
    ("v = GlobalAveragePool(xd)", (1, 3, 4), r"allowed: \(N, C, H, W\)"),
    ("v = MaxPool <kernel_shape = [5, 5]> (xd)", (1, 3, 4, 4), "a window fits"),
    ("v = Concat <axis = 2> (xd, xd)", (2, 3), "an axis 2"),
    ("cd = DequantizeLinear(c, sx, zx)\nv = Concat <axis = 0> (xd, cd)", (2, 4), "equal but for"),
    ("v = Softmax <axis = -1> (xd)", (), "at least one axis"),
    ("v = Erf(xd)\n", (1, 3), ""),
    ("e = Erf(xd)\nv = Conv(e, f)", (1, 3, 4), r"node v \(Conv\): operands have shapes"),
]  # fmt: skip
CONSTANTS = {
    "size": np.int64([0, 7]), "first": np.int64([0]), "last": np.int64([3]),
    "pads": np.int64([0, 0, 2, 2, 0, 0, 2, 2]), "crop": np.int64([0, 0, -2, 0, 0, 0, 0, 0]),
    "twice": np.float32([1, 1, 2, 2]), "t": np.zeros((3, 2, 2, 2), np.int8),
    "f": np.zeros((2, 3, 1, 1), np.float32),
}  # fmt: skip


def run(body: str, shape: tuple[int, ...]) -> Any:
    """A file that says nothing of its input's shape, run on zeros."""
    model = qdq(body, shape="N", opset=17, **CONSTANTS) if not shape else qdq(body, **CONSTANTS)
    model.graph.input[0].type.tensor_type.ClearField("shape")
    graph = read_graph(model)
    return run_graph(graph, QDQ, {"x": np.zeros(shape, np.float32)}).outputs["y"]


@pytest.mark.parametrize(("body", "shape", "operator"), MOVES)
def test_moves_that_do_not_fit(body: str, shape: tuple[int, ...], operator: str) -> None:
    rule = rf"node v \({operator}\), {operator}: attributes fit the shape of the operand"
    with pytest.raises(InputError, match=rule):
        run(body, shape)


@pytest.mark.parametrize(("body", "shape", "text"), OTHERS)
def test_operands_that_do_not_fit(body: str, shape: tuple[int, ...], text: str) -> None:
    if not text:
        assert run(body, shape).shape == shape
        return
    with pytest.raises(DeployqError, match=text):
        run(body, shape)


def test_a_run_may_grow_with_its_inputs() -> None:
    assert fit.most_elements([(2, 3)]) == fit.MOST
    assert fit.most_elements([(1 << 20, 3), (4,)]) == 3 * fit.GROWTH << 20
    with pytest.raises(InputError, match="a tensor has a size that can be meant"):
        fit.check_size("output", (fit.MOST, 2))


@pytest.mark.parametrize("mode", ["reflect", "edge"])
@pytest.mark.parametrize("axis", range(4))
def test_one_axis_is_padded(mode: str, axis: int, tmp_path: Path) -> None:
    pads = np.zeros((2, 4), np.int64)
    pads[:, axis] = 1, 2
    model = qdq(f'v = Pad <mode = "{mode}"> (xd, pads)', shape="3,3,4,5", pads=pads.ravel())
    x = np.random.default_rng(0).uniform(-1, 60, (3, 3, 4, 5)).astype(np.float32)
    runtime = session(model, tmp_path / "graph.onnx", LEVELS.ORT_DISABLE_ALL)
    found = run_graph(read_graph(model), QDQ, {"x": x}).outputs["y"]
    np.testing.assert_array_equal(found, runtime.run(None, {"x": x})[0])
