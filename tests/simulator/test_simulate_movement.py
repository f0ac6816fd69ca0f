"""Movement operators against ONNX Runtime, which moves the same reals."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from deployq.arithmetic.contract import QDQ
from deployq.qgraph import read_graph
from deployq.simulator import run_graph
from tests.qgraph.texts import model, qdq
from tests.simulator.nets import LEVELS, session

CONSTANTS: dict[str, Any] = {
    "sy": np.float32(0.5), "zy": np.uint8(3), "axes": np.int64([-1, 0]),
    "size": np.int64([0, 2, -1, 2]), "starts": np.int64([-3, 1]), "ends": np.int64([2**62, -1]),
    "where": np.int64([2, -1]), "steps": np.int64([2, 1]), "zero": np.float32(0),
    "pads": np.int64([0, 1, 2, 0, 0, 0, 3, 1]), "crop": np.int64([0, 0, -1, 2, 0, 0, 0, -2]),
    "roi": np.float32([]), "scales": np.float32([1, 1, 3, 2]),
    "some": np.int64([1, 2]), "last": np.int64([-1, 1]),
}  # fmt: skip
FLOOR = 'coordinate_transformation_mode = "asymmetric", nearest_mode = "floor"'
BODIES = [
    "v = Transpose <perm = [0, 3, 1, 2]> (xd)",
    "v = Transpose(xd)",
    "v = Flatten(xd)",
    "v = Flatten <axis = -1> (xd)",
    "v = Flatten <axis = 4> (xd)",
    "v = Flatten <axis = 0> (xd)",
    "v = Reshape(xd, size)",
    "v = Unsqueeze(xd, axes)",
    "v = Identity(xd)",
    "v = Dropout(xd)",
    "u = Unsqueeze(xd, axes)\nv = Squeeze(u, axes)",
    "v = Slice(xd, starts, ends, where, steps)",
    "v = Pad(xd, pads, zero)",
    "v = Pad(xd, crop)",
    "v = Concat <axis = -1> (xd, xd)",
    f"v = Resize <{FLOOR}> (xd, roi, scales)",
    "v = Resize(xd, roi, scales)",
    'v = Resize <nearest_mode = "round_prefer_ceil"> (xd, roi, scales)',
    "v = MaxPool <kernel_shape = [3, 2], pads = [2, 0, 1, 1], strides = [2, 1]> (xd)",
]


def compare(made: Any, x: Any, tmp_path: Path) -> None:
    """Not one real may differ."""
    runtime = session(made, tmp_path / "graph.onnx", LEVELS.ORT_DISABLE_ALL)
    found = run_graph(read_graph(made), QDQ, {"x": x}).outputs["y"]
    np.testing.assert_array_equal(found, runtime.run(None, {"x": x})[0])


@pytest.mark.parametrize("body", BODIES)
def test_codes_move_as_reals_do(body: str, tmp_path: Path) -> None:
    x = np.random.default_rng(0).uniform(-5, 130, (2, 3, 6, 4)).astype(np.float32)
    compare(qdq(body, shape="N,C,H,W", **CONSTANTS), x, tmp_path)


@pytest.mark.parametrize("body", BODIES)
def test_moved_codes_are_rescaled(body: str, tmp_path: Path) -> None:
    x = np.random.default_rng(0).uniform(-5, 130, (2, 3, 6, 4)).astype(np.float32)
    other = {"sy": np.float32(0.3), "zy": np.uint8(9)}
    compare(qdq(body, shape="N,C,H,W", **(CONSTANTS | other)), x, tmp_path)


ON_CODES = """g (float[N,3,6,4] x) => (float[N,C] y) {
    q = QuantizeLinear(x, sx, zx)
    p = Pad(q, pads, seven)
    m = MaxPool <kernel_shape = [2, 2]> (p)
    c = Clip(m, ten, hundred)
    f = Flatten(c)
    y = DequantizeLinear(f, sx, zx)
}"""


def test_codes_move_where_they_are(tmp_path: Path) -> None:
    codes = {"seven": np.uint8(7), "ten": np.uint8(10), "hundred": np.uint8(100)}
    x = np.random.default_rng(0).uniform(-5, 130, (2, 3, 6, 4)).astype(np.float32)
    compare(model(ON_CODES, pads=CONSTANTS["pads"], **codes), x, tmp_path)


def test_a_symbolic_batch_reshapes_every_batch(tmp_path: Path) -> None:
    body = """s = Shape(xd)
        i = Gather(s, first)
        n = Unsqueeze(i, start)
        r = Concat <axis = 0> (n, minus)
        v = Reshape(xd, r)"""
    constants = {"first": np.int64(0), "start": np.int64([0]), "minus": np.int64([-1])}
    made = qdq(body, shape="N,3,6,4", out="N,C", **(CONSTANTS | constants))
    for batch in (1, 5):
        x = np.random.default_rng(0).uniform(-5, 130, (batch, 3, 6, 4)).astype(np.float32)
        compare(made, x, tmp_path)
