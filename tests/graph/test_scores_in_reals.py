"""Scores that a Softmax in float reads stay in reals: exact sums, proved, counted and checked."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx
import pytest
import torch

from deployq import pipeline
from deployq.arithmetic.contract import QDQ
from deployq.data import Dataset
from deployq.errors import UnsupportedError
from deployq.graph.codes import evaluate_codes
from deployq.graph.preparation import PreparedModel
from deployq.overflow.proving import prove_layers
from deployq.overflow.subject import Subject
from deployq.qgraph import read_graph
from deployq.qgraph.nodes import MatMul
from deployq.qgraph.sizes import macs
from deployq.simulator import run_graph
from deployq.simulator.shapes import code_shapes
from deployq_calibration.calibration_settings import CalibrationSettings
from deployq_exporters.lowering import lower, to_proto
from deployq_exporters.tflite import write_tflite
from deployq_targets import load_profile
from deployq_targets.checks import check_model
from tests.exporters.attention import Block
from tests.exporters.graphs import parse

X = np.random.default_rng(0).normal(size=(24, 3, 20, 16)).astype(np.float32)

ALONE = """(float[N,4,8] x) => (float[N,4,4] y)
    <float s = {{0.03}}, {kind} z = {{{zero}}}, float u = {{0.00390625}}, uint8 v = {{0}}>
    {{ q = QuantizeLinear(x, s, z)  a = DequantizeLinear(q, s, z)
       b = Transpose<perm = [0,2,1]>(a)  c = QuantizeLinear(b, s, z)
       d = DequantizeLinear(c, s, z)  [scores] p = MatMul(a, d)  r = Softmax(p)
       i = QuantizeLinear(r, u, v)  y = DequantizeLinear(i, u, v) }}"""


@pytest.fixture(scope="module")
def prepared() -> PreparedModel:
    torch.manual_seed(0)
    made = pipeline.prepare(Block().eval(), [torch.zeros(2, 3, 20, 16)], "openvino-cpu")
    pipeline.calibrate(made, Dataset({"x": X}), CalibrationSettings(corrections=()))
    return made


@pytest.fixture(scope="module")
def model(prepared: PreparedModel) -> onnx.ModelProto:
    return to_proto(lower(prepared, prepared.profile))


def scores(model: onnx.ModelProto) -> MatMul:
    graph = read_graph(model)
    first, second = (node for node in graph.nodes if isinstance(node, MatMul))
    assert first.in_reals and not second.in_reals
    return first


def test_reals_are_the_exact_sums_times_both_scales(model: onnx.ModelProto) -> None:
    graph, node = read_graph(model), scores(model)
    cut = replace(graph, outputs=(node.output,))
    run = run_graph(cut, QDQ, {"x": X})
    (a, qa), (b, qb) = ((run.codes[n].numpy(), graph.qparams[n]) for n in node.inputs)
    sums = (a.astype(np.int64) - qa.zero_point) @ (b.astype(np.int64) - qb.zero_point)
    wanted = sums * (np.float64(qa.scale) * np.float64(qb.scale))
    np.testing.assert_array_equal(run.outputs[node.output], wanted.astype(np.float32))
    assert len(np.unique(sums)) > 1000


def test_reference_and_simulator_agree(prepared: PreparedModel, model: onnx.ModelProto) -> None:
    """Softmax and LayerNorm are float32, in another order: a tie may turn."""
    simulated = run_graph(read_graph(model), QDQ, {"x": X}).codes
    for name, codes in evaluate_codes(prepared, QDQ, torch.from_numpy(X)).items():
        apart = (codes.long() - simulated[f"{name}.codes"].long()).abs()
        assert int(apart.max()) <= 1 and float((apart > 0).float().mean()) < 1e-3, name


def test_products_of_the_scores_are_counted_and_proved(model: onnx.ModelProto) -> None:
    graph, node = read_graph(model), scores(model)
    shapes = code_shapes(model, graph)
    assert shapes is not None and macs(node, shapes) == 4 * 20 * 20 * 4
    layers = prove_layers(Subject(graph, load_profile("openvino-cpu"), shapes))
    assert node.name in {layer.name for layer in layers}


def test_a_check_says_nothing_of_them_but_their_zero_points(model: onnx.ModelProto) -> None:
    name, profile = scores(model).name, load_profile("openvino-cpu")
    assert name not in {finding.node for finding in check_model(model, profile)}
    odd = parse(ALONE.format(kind="uint8", zero=100))
    rules = [f.rule for f in check_model(odd, profile) if f.node == "scores"]
    assert rules == ["factor-zero-point", "factor-zero-point"]


def test_a_tflite_file_has_no_such_product() -> None:
    model = parse(ALONE.format(kind="int8", zero=0))
    graph = read_graph(model)
    shapes = code_shapes(model, graph)
    assert shapes is not None
    with pytest.raises(UnsupportedError, match="returns codes"):
        write_tflite(graph, shapes)
