"""Nearest resizing to any size against ONNX Runtime, which computes the cells in float32."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from deployq.arithmetic.contract import QDQ
from deployq.qgraph import read_graph
from deployq.qgraph.resizing import float32_agrees
from deployq.simulator import run_graph
from tests.qgraph.texts import model
from tests.simulator.nets import LEVELS, operators, session

TEXT = """g (float[N,3,%d,%d] x) => (float[N,3,H,W] y) {
    q = QuantizeLinear(x, sx, zx)
    d = DequantizeLinear(q, sx, zx)
    r = Resize <coordinate_transformation_mode = "asymmetric", nearest_mode = "floor",
        axes = [2, 3]> (d, roi, none, sizes)
    p = QuantizeLinear(r, sx, zx)
    y = DequantizeLinear(p, sx, zx)
}"""
EMPTY = {"roi": np.float32([]), "none": np.float32([])}


@pytest.mark.parametrize("level", [LEVELS.ORT_DISABLE_ALL, LEVELS.ORT_ENABLE_ALL])
@pytest.mark.parametrize("size", [(6, 4), (12, 8), (7, 9), (13, 30), (3, 2), (5, 1)])
def test_codes_are_those_of_onnxruntime(
    size: tuple[int, int], level: object, tmp_path: Path
) -> None:
    made = model(TEXT % (6, 4), opset=18, sizes=np.int64(size), **EMPTY)
    x = np.random.default_rng(0).uniform(-5, 130, (2, 3, 6, 4)).astype(np.float32)
    runtime = session(made, tmp_path / "graph.onnx", level)
    found = run_graph(read_graph(made), QDQ, {"x": x}).outputs["y"]
    np.testing.assert_array_equal(found, runtime.run(None, {"x": x})[0])


def test_onnxruntime_resizes_codes(tmp_path: Path) -> None:
    made = model(TEXT % (6, 4), opset=18, sizes=np.int64([12, 9]), **EMPTY)
    session(made, tmp_path / "graph.onnx")
    assert operators(tmp_path / "graph.onnx") == {"QuantizeLinear", "Resize", "DequantizeLinear"}


def test_the_float32_cells_are_predicted(tmp_path: Path) -> None:
    """From every length to every size: where our formula says float32 agrees, the runtime does."""
    lengths, sizes = range(1, 40, 3), range(1, 60, 2)
    disagreeing = 0
    for length in lengths:
        x = np.arange(length, dtype=np.float32).reshape(1, 1, 1, length)
        for size in sizes:
            text = f"""g (float[1,1,1,{length}] x) => (float[1,1,1,{size}] y) {{
                y = Resize <coordinate_transformation_mode = "asymmetric", nearest_mode = "floor">
                (x, roi, none, sizes) }}"""
            made = model(text, sizes=np.int64([1, 1, 1, size]), **EMPTY)
            runtime = session(made, tmp_path / "graph.onnx", LEVELS.ORT_DISABLE_ALL)
            cells = runtime.run(None, {"x": x})[0].reshape(-1).astype(int).tolist()
            exact = [i * length // size for i in range(size)]
            assert (cells == exact) or not float32_agrees(length, size)
            disagreeing += not float32_agrees(length, size)
    assert disagreeing < len(lengths) * len(sizes) / 10  # most sizes are taken
