"""Files of other tools, simulated against ONNX Runtime."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper

from deployq.arithmetic.contract import QDQ
from deployq.qgraph import read_graph
from deployq.simulator import run_graph
from deployq_targets import load_profile
from tests.simulator.nets import LEVELS, operators, session

DATA = Path(os.environ.get("DEPLOYQ_DATA", Path(__file__).parents[3] / "shared" / "data"))
FOLDER = DATA / "onnx_thirdparty"
pytestmark = pytest.mark.skipif(
    not FOLDER.is_dir(), reason="the third-party models are not here; set DEPLOYQ_DATA"
)
Array = np.ndarray[Any, np.dtype[Any]]
ORT = load_profile("ort-cpu").contract()


@pytest.mark.parametrize("name", ["s8s8", "s8s8_perchannel", "u8u8"])
def test_convolutions_of_onnxruntime(name: str, tmp_path: Path) -> None:
    model = onnx.load(FOLDER / "ort_testdata" / f"conv_qdq_{name}.onnx")
    graph = read_graph(model)
    x = np.random.default_rng(0).uniform(-1, 1, (4, 3, 24, 24)).astype(np.float32)
    scale = graph.qparams[graph.nodes[0].output].scale
    x = x * np.float32(127 * scale)
    runtime = session(model, tmp_path / "optimised.onnx")
    assert "QLinearConv" in operators(tmp_path / "optimised.onnx")
    (found,) = run_graph(graph, ORT, {graph.inputs[0]: x}).outputs.values()
    assert len(np.unique(found)) >= 32
    np.testing.assert_array_equal(found, runtime.run(None, {graph.inputs[0]: x})[0])


def test_same_padding_of_a_file(tmp_path: Path) -> None:
    """The file also puts the unquantized outputs of its layers out; without them it is read."""
    name = "qdq_with_multi_consumer_q_dq_axis.onnx"
    model = onnx.load(FOLDER / "ort_testdata" / name)
    for output in [o for o in model.graph.output if not o.name.endswith(("/Q", "/DQ"))]:
        model.graph.output.remove(output)
    x = np.random.default_rng(0).uniform(0, 255, (1, 1, 28, 28)).astype(np.float32)
    runtime = session(model, tmp_path / "optimised.onnx", LEVELS.ORT_DISABLE_ALL)
    found = run_graph(read_graph(model), QDQ, {"Input3": x}).outputs
    names = [output.name for output in runtime.get_outputs()]
    for name, expected in zip(names, runtime.run(None, {"Input3": x}), strict=True):
        np.testing.assert_array_equal(found[name], expected, name)


def test_mobilenet_layer_by_layer(tmp_path: Path) -> None:
    x = np.random.default_rng(0).standard_normal((1, 3, 224, 224)).astype(np.float32)
    compare_layers(onnx.load(FOLDER / "mobilenetv2_qdq_pertensor.onnx"), x, tmp_path)


def test_a_transposed_convolution_of_onnxruntime(tmp_path: Path) -> None:
    model = onnx.load(FOLDER / "ort_testdata" / "test_conv_follow_convtrans_s8.onnx")
    x = np.random.default_rng(0).standard_normal((4, 3, 24, 24)).astype(np.float32)
    compare_layers(model, x, tmp_path)


def compare_layers(model: onnx.ModelProto, x: Array, tmp_path: Path) -> None:
    """Law 12 (b): in float, at most 5e-5 of a layer's codes differ, and by 1."""
    graph = read_graph(model)
    names = [node.output[0] for node in model.graph.node if node.op_type == "QuantizeLinear"]
    for name in names:
        element = TensorProto.INT8 if graph.qparams[name].qtype.signed else TensorProto.UINT8
        model.graph.output.append(helper.make_tensor_value_info(name, element, None))
    runtime = session(model, tmp_path / "graph.onnx", LEVELS.ORT_DISABLE_ALL)
    expected = dict(zip(names, runtime.run(names, {"input": x}), strict=True))
    forced = {name: torch.from_numpy(codes) for name, codes in expected.items()}
    found = run_graph(graph, QDQ, {"input": x}, forced=forced).codes
    for name, codes in expected.items():
        difference = np.abs(found[name].numpy().astype(int) - codes)
        assert difference.max() <= 1
        assert np.count_nonzero(difference) <= max(5e-5 * codes.size, 1), name
