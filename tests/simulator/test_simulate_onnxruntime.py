"""Whole graphs against ONNX Runtime's integer kernels: not one code may differ.

The optimised graphs are checked to hold the integer kernels and no float operator.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from deployq.qgraph import read_graph
from deployq.simulator import run_graph
from deployq_targets import load_profile
from tests.qgraph.texts import model
from tests.simulator.nets import LEVELS, operators, reals, session, small_net

CONTRACT = load_profile("ort-cpu").contract()
INTEGER = {
    "QLinearConv", "QGemm", "QLinearAdd", "QLinearMul", "QLinearConcat", "QLinearLeakyRelu",
    "QLinearAveragePool", "QLinearGlobalAveragePool",
}  # fmt: skip
MOVES = {"MaxPool", "NhwcMaxPool", "Transpose", "Flatten", "Reshape"}
BORDERS = {"QuantizeLinear", "DequantizeLinear"}
opsets = pytest.mark.parametrize("opset", [13, 17, 21])
tie_rich = pytest.mark.parametrize("ties", [False, True], ids=["generic", "ties"])


@opsets
@tie_rich
def test_a_qdq_network_end_to_end(opset: int, ties: bool, tmp_path: Path) -> None:
    net = small_net(opset, ties=ties)
    runtime = session(net, tmp_path / "optimised.onnx")
    found = operators(tmp_path / "optimised.onnx")
    assert found >= INTEGER
    assert found <= INTEGER | MOVES | BORDERS
    simulation = run_graph(read_graph(net), CONTRACT, {"x": reals()})
    (name,) = simulation.outputs
    assert len(np.unique(simulation.outputs[name])) >= 32
    np.testing.assert_array_equal(runtime.run(None, {"x": reals()})[0], simulation.outputs[name])


@opsets
@tie_rich
def test_every_tensor_of_a_qdq_network(opset: int, ties: bool, tmp_path: Path) -> None:
    net = small_net(opset, ties=ties, inner=True)
    runtime = session(net, tmp_path / "optimised.onnx")
    assert operators(tmp_path / "optimised.onnx") >= INTEGER
    simulation = run_graph(read_graph(net), CONTRACT, {"x": reals()})
    for output, codes in zip(runtime.get_outputs(), runtime.run(None, {"x": reals()}), strict=True):
        assert len(np.unique(codes)) >= 32, output.name
        np.testing.assert_array_equal(simulation.outputs[output.name], codes, output.name)
    assert len(simulation.outputs) == 14


@opsets
@tie_rich
def test_a_qoperator_network(opset: int, ties: bool, tmp_path: Path) -> None:
    file = tmp_path / "qoperator.onnx"
    session(small_net(opset, ties=ties), file, LEVELS.ORT_ENABLE_EXTENDED)
    assert operators(file) >= INTEGER
    runtime = session(file, tmp_path / "optimised.onnx")
    simulation = run_graph(read_graph(onnx.load(file)), CONTRACT, {"x": reals(seed=1)})
    (expected,) = runtime.run(None, {"x": reals(seed=1)})
    (name,) = simulation.outputs
    assert len(np.unique(expected)) >= 32
    np.testing.assert_array_equal(simulation.outputs[name], expected)


def test_the_two_forms_are_one_network(tmp_path: Path) -> None:
    net, file = small_net(17), tmp_path / "qoperator.onnx"
    session(net, file, LEVELS.ORT_ENABLE_EXTENDED)
    qdq, qoperator = read_graph(net), read_graph(onnx.load(file))
    assert [type(n) for n in qdq.nodes] == [type(n) for n in qoperator.nodes]
    assert [n.op_type for n in qdq.nodes] == [n.op_type for n in qoperator.nodes]


INTEGER_INPUT = """g (uint8[N,3,8,8] x) => (uint8[N,4,8,8] y, float[N,4,8,8] z) {
    xd = DequantizeLinear(x, sx, zx)
    wd = DequantizeLinear(w, sw, zw)
    bd = DequantizeLinear(b, sb)
    v = Conv(xd, wd, bd)
    y = QuantizeLinear(v, sy, zy)
    z = DequantizeLinear(y, sy, zy)
}"""


def test_integer_inputs_and_outputs(tmp_path: Path) -> None:
    made = model(INTEGER_INPUT)
    runtime = session(made, tmp_path / "optimised.onnx")
    assert operators(tmp_path / "optimised.onnx") >= {"QLinearConv"}
    x = np.random.default_rng(0).integers(0, 20, (4, 3, 8, 8)).astype(np.uint8)
    found = run_graph(read_graph(made), CONTRACT, {"x": x}).outputs
    y, z = runtime.run(["y", "z"], {"x": x})
    assert len(np.unique(y)) >= 32
    np.testing.assert_array_equal(found["y"], y)
    np.testing.assert_array_equal(found["z"], z)
