"""Files read for looking at them: parameters that nothing computes with are kept."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from deployq.errors import UnsupportedError
from deployq.qgraph import read_graph
from deployq.qgraph.nodes import Linear
from deployq.qparams import PerBlock, PerChannel
from tests.qgraph.texts import qdq

WEIGHT = "wd = DequantizeLinear(w, sw, zw)\n"
BLOCKS: dict[str, Any] = {
    "k": np.arange(8, dtype=np.int8).reshape(4, 2), "shape": "N,4", "out": "N,2", "opset": 21,
    "sk": np.arange(1, 5, dtype=np.float32).reshape(2, 2), "zk": np.zeros((2, 2), np.int8),
}  # fmt: skip


def linear(body: str, **options: Any) -> Linear:
    """The one layer, read as stated; what can be run has no such layer."""
    model = qdq(body, **options)
    with pytest.raises(UnsupportedError):
        read_graph(model)
    (found,) = (n for n in read_graph(model, as_stated=True).nodes if isinstance(n, Linear))
    return found


def test_blocks_stay_and_turn_with_their_weight() -> None:
    blocks = "kd = DequantizeLinear <axis = {}, block_size = 2> (k, sk, zk)\n"
    found = linear(blocks.format(0) + "v = MatMul(xd, kd)", **BLOCKS)
    assert found.weight_qparams.granularity == PerBlock(0, 2)
    turned = BLOCKS | {name: BLOCKS[name].T for name in ("k", "sk", "zk")}
    for step in ("v = Gemm <transB = 1> (xd, kd)", "kt = Transpose(kd)\nv = MatMul(xd, kt)"):
        again = linear(blocks.format(1) + step, **turned)
        assert again.weight_qparams == found.weight_qparams
        np.testing.assert_array_equal(again.weight, found.weight)


def test_scales_along_another_axis_stay() -> None:
    body = "wd = DequantizeLinear <axis = 1> (w, s3, z3)\nv = Conv(xd, wd, f)"
    scales = {"s3": np.float32([0.5, 0.25, 0.125]), "z3": np.zeros(3, np.int8)}
    found = linear(body, f=np.float32([1, 2, 3, 4]), **scales)
    assert found.weight_qparams.granularity == PerChannel(1)
    np.testing.assert_array_equal(found.bias, [4, 8, 12, 16])  # in the largest steps, 0.5 * 0.5


def test_a_bias_keeps_its_scale_and_its_zero_point() -> None:
    body = WEIGHT + "bd = DequantizeLinear(b, sb, zb)\nv = Conv(xd, wd, bd)"
    found = linear(body, sb=np.float32(0.1), zb=np.int32(7))
    assert found.bias_qparams is not None
    assert (found.bias_qparams.scale, found.bias_qparams.zero_point) == (np.float32(0.1), 7)
    np.testing.assert_array_equal(found.bias, [10, -20, 30, 40])


def test_an_activation_keeps_its_scales() -> None:
    scales = {"sx": np.float32([0.5, 0.25, 0.125]), "zx": np.uint8([1, 2, 3])}
    model = qdq(WEIGHT + "v = Conv(xd, wd)", **scales)
    with pytest.raises(UnsupportedError, match="an activation has one scale"):
        read_graph(model)
    graph = read_graph(model, as_stated=True)
    assert graph.qparams["xq"].granularity == PerChannel(1)


def test_what_can_be_run_is_read_the_same() -> None:
    model = qdq(WEIGHT + "bd = DequantizeLinear(b, sb, zb)\nv = Conv(xd, wd, bd)")
    plain, stated = read_graph(model), read_graph(model, as_stated=True)
    assert plain.qparams == stated.qparams and len(plain.nodes) == len(stated.nodes)
