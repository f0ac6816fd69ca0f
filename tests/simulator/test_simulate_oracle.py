"""Every kind of node in torch against the oracle in NumPy, in three arithmetics."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from deployq.arithmetic.contract import QDQ
from deployq.qgraph import read_graph
from deployq.simulator import run_graph
from deployq_targets import load_profile
from tests.qgraph.texts import qdq
from tests.simulator.nets import small_net
from tests.simulator.twin import evaluate

CONTRACTS = [QDQ, load_profile("ort-cpu").contract(), load_profile("int8-npu").contract()]
contracts = pytest.mark.parametrize("contract", CONTRACTS, ids=lambda c: c.name)
RNG = np.random.default_rng(0)
W = RNG.integers(-127, 128, (6, 3, 3, 2)).astype(np.int8)
D = RNG.integers(-127, 128, (6, 1, 3, 3)).astype(np.int8)
M = RNG.integers(0, 256, (8, 6)).astype(np.uint8)
S6 = RNG.uniform(0.002, 0.01, 6).astype(np.float32)
BODIES = {
    "conv": """wd = DequantizeLinear <axis = 0> (W, S6, Z6)
        bd = DequantizeLinear <axis = 0> (B6, SB6)
        v = Conv <strides = [2, 1], pads = [1, 0, 1, 1], dilations = [1, 2]> (xd, wd, bd)""",
    "depthwise": """wd = DequantizeLinear <axis = 0> (D, S6, Z6)
        v = Conv <group = 3, pads = [1, 1, 1, 1]> (xd, wd)""",
    "transposed conv": """wd = DequantizeLinear <axis = 1> (T, S6, Z6)
        bd = DequantizeLinear <axis = 0> (B6, SB6)
        v = ConvTranspose <strides = [2, 1], pads = [1, 0, 2, 1], dilations = [1, 2],
        output_padding = [1, 1]> (xd, wd, bd)""",
    "transposed conv in groups": """wd = DequantizeLinear <axis = 1> (G, S2, Z2)
        v = ConvTranspose <group = 3, strides = [3, 2]> (xd, wd)""",
    "clipped conv": """wd = DequantizeLinear(W, SW)
        a = Conv(xd, wd)
        v = Clip(a, low, high)""",
    "matmul with a bias": """wd = DequantizeLinear <axis = 1> (M, S6, U6)
        a = MatMul(xd, wd)
        v = Add(a, F6)""",
    "matmul of activations": "v = MatMul(xd, xd)",
    "matmul with a constant": "md = DequantizeLinear(K, SW)\nv = MatMul(md, xd)",
    "add": "v = Add(xd, xd)",
    "add a constant": "kd = DequantizeLinear(K, SW)\na = Add(kd, xd)\nv = Relu(a)",
    "mul": "v = Mul(xd, xd)",
    "average pool": "v = AveragePool <kernel_shape = [3, 2], pads = [1, 1, 0, 0]> (xd)",
    "average pool with padding": """v = AveragePool <kernel_shape = [3, 2], strides = [2, 2],
        pads = [1, 1, 1, 0], count_include_pad = 1> (xd)""",
    "global average pool": "v = GlobalAveragePool(xd)",
    "max pool and rescale": "v = MaxPool <kernel_shape = [2, 3], pads = [1, 0, 0, 2]> (xd)",
    "concat": "v = Concat <axis = 2> (xd, xd)",
    "leaky relu": "v = LeakyRelu <alpha = 0.2> (xd)",
    "relu": "v = Relu(xd)",
    "hard swish": "v = HardSwish(xd)",
}
CONSTANTS: dict[str, Any] = {
    "W": W, "D": D, "M": M, "S6": S6, "SW": np.float32(0.004), "SB6": np.float32(0.03) * S6,
    "T": W.transpose(1, 0, 2, 3).copy(), "G": W[:3, :2].copy(), "S2": S6[1:3],
    "Z2": np.int8([-5, 9]),
    "Z6": np.int8([0, 3, -4, 0, 127, -128]), "U6": np.uint8([0, 255, 128, 1, 2, 3]),
    "B6": RNG.integers(-3000, 3000, 6).astype(np.int32),
    "F6": np.linspace(-1, 1, 6, dtype=np.float32),
    "K": RNG.integers(-128, 128, (1, 3, 8, 8)).astype(np.int8), "low": np.float32(-0.2),
    "high": np.float32(0.5), "sx": np.float32(0.03), "zx": np.uint8(117), "zy": np.uint8(121),
    "sy": np.float32(0.0125),
}  # fmt: skip


@contracts
@pytest.mark.parametrize("body", BODIES)
def test_each_node_equals_the_oracle(body: str, contract: Any) -> None:
    graph = read_graph(qdq(BODIES[body], shape="N,3,8,8", **CONSTANTS))
    x = np.random.default_rng(1).normal(0, 2, (32, 3, 8, 8)).astype(np.float32)
    found = run_graph(graph, contract, {"x": x}).codes
    expected = evaluate(graph, contract, {"x": x})
    assert list(found) == list(expected)
    assert len(np.unique(expected["yq"])) >= 32
    for name, codes in expected.items():
        np.testing.assert_array_equal(found[name].numpy(), codes, name)
        assert found[name].numpy().dtype == graph.qparams[name].qtype.dtype


@pytest.mark.parametrize("contract", CONTRACTS[1:], ids=lambda c: c.name)
def test_contracts_differ(contract: Any) -> None:
    """The comparison above would say nothing if every contract gave the same codes."""
    graph = read_graph(small_net(17, ties=True))
    x = np.random.default_rng(2).standard_normal((4, 3, 16, 16)).astype(np.float32)
    exact, other = (run_graph(graph, c, {"x": x}).codes for c in (QDQ, contract))
    assert sum(int((exact[name] != other[name]).sum()) for name in exact) > 0
