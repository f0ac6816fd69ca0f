"""A block of a vision transformer on Qualcomm HTP's emulator, beside the simulator."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
import torch

from benchmarks.qnn_runs import IN_FLOAT, compare, merged
from deployq import pipeline
from deployq.bundle import Bundle
from deployq.data import Dataset
from deployq.golden_vectors.tracing import trace_graph
from deployq.qgraph import read_graph
from deployq.qgraph.nodes import MatMul
from deployq.simulator import run_graph
from deployq_calibration.calibration_settings import CalibrationSettings
from deployq_exporters.runtimes.qnn_context import prepare_offline
from deployq_exporters.runtimes.qnn_htp import installed
from deployq_targets import load_profile
from tests.exporters.attention import Block
from tests.proprietary import proprietary

htp = proprietary(installed(), "qnn")
UNKNOWN = {f"LayerNormalization{IN_FLOAT}": 0.02, f"Softmax{IN_FLOAT}": 0.05}
"""Operators whose codes nobody knows, by 2 at most, and the share of them that may differ."""


@pytest.fixture(scope="module")
def block(tmp_path_factory: pytest.TempPathFactory) -> tuple[Bundle, Dataset]:
    torch.manual_seed(0)
    model = pipeline.prepare(Block().eval(), [torch.zeros(2, 3, 20, 16)], "qnn-htp")
    x = np.random.default_rng(0).normal(size=(48, 3, 20, 16)).astype(np.float32)
    data = Dataset(dict.fromkeys(model.inputs, x))
    pipeline.calibrate(model, data, CalibrationSettings(corrections=()))
    path = tmp_path_factory.mktemp("bundles") / "block"
    return pipeline.export(model, path, data), data


def test_second_factors_are_around_128(block: tuple[Bundle, Dataset]) -> None:
    graph = read_graph(onnx.load(block[0].path / "model.onnx"))
    products = [node for node in graph.nodes if isinstance(node, MatMul)]
    assert len(products) == 2 and not any(node.shifted for node in products)
    assert {int(graph.qparams[node.inputs[1]].zero_point) for node in products} == {128}


def test_what_is_not_known_counts_as_in_float(block: tuple[Bundle, Dataset]) -> None:
    lines = block[0].facts["floats"]
    assert [line.partition(": ")[2] for line in lines] == [
        *["float, qnn-htp runs LayerNormalization as float"] * 3,
        "float, the codes of qnn-htp are not known for rows of 20",
    ]


@htp
def test_all_but_rows_has_the_codes_of_htp(block: tuple[Bundle, Dataset]) -> None:
    bundle, data = block
    file, contract = onnx.load(bundle.path / "model.onnx"), load_profile("qnn-htp").contract()
    tallies = merged(compare(file, contract, {"x": data.inputs["x"][:12]}).values())
    found = {tally.operator: tally for tally in tallies}
    for name, share in UNKNOWN.items():
        tally = found.pop(name)
        assert tally.codes > 5_000 and tally.largest <= 2
        assert tally.different <= share * tally.codes
    del found["QuantizeLinear"]
    assert {"MatMul", "Gelu", "Add", "Conv"} <= found.keys()
    assert {tally.different for tally in found.values()} == {0}
    assert all(tally.codes for tally in found.values())


@htp
def test_layers_of_three_axes_become_one_context(block: tuple[Bundle, Dataset]) -> None:
    """Of a MatMul and the Add of a bias, which a session joins and the compiler alone does not."""
    context = prepare_offline(onnx.load(block[0].path / "model.onnx"), "68")
    assert context.binary_bytes > 1000


def test_golden_vectors_leave_it_out(block: tuple[Bundle, Dataset]) -> None:
    graph, profile = read_graph(onnx.load(block[0].path / "model.onnx")), load_profile("qnn-htp")
    x = block[1].inputs["x"][:4]
    trace = trace_graph(graph, profile, run_graph(graph, profile.contract(), {"x": x}), samples=4)
    assert "softmax" in trace.floats and len(trace.layers) > 10
