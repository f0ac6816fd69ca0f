"""Comparisons of codes on models small enough to break by hand."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from deployq.arithmetic.contract import QDQ
from deployq.data import Dataset
from deployq.graph.preparation import PreparedModel
from deployq.qgraph import read_graph
from deployq.verifier.parity import (
    float_run_against_reference,
    output_tensor,
    reference_against_simulator,
    runtime_against_simulator,
)
from deployq_exporters.dialects import DIALECTS, translate
from deployq_exporters.lowering import lower, to_proto
from deployq_exporters.runtimes.onnxruntime import Session


def silent(step: str) -> None:
    pass


def test_a_run_under_another_contract_is_seen(
    make_prepared: Callable[..., PreparedModel], unseen: Dataset
) -> None:
    """ONNX Runtime's Add rounds ties elsewhere than real arithmetic: the comparison must tell."""
    prepared = make_prepared("ort-cpu")
    with torch.no_grad():  # powers of two: every other sum of codes is a tie
        for quantizer in prepared.quantizers().values():
            quantizer.scale.copy_(torch.exp2(torch.round(torch.log2(quantizer.scale))))
    model = translate(to_proto(lower(prepared, prepared.profile)), DIALECTS["onnxruntime"])
    graph = read_graph(model)
    session = Session(model, {n.output: graph.qparams[n.output] for n in graph.nodes[:-1]})
    own = prepared.profile.contract()
    ours = runtime_against_simulator(session, graph, own, [unseen], silent)
    other = runtime_against_simulator(session, graph, QDQ, [unseen], silent)
    assert [p.different for p in ours] == [0, 0]
    assert other[0].different > 0 and other[0].misses()


def test_layers_left_in_float_are_compared_apart(
    make_prepared: Callable[..., PreparedModel], unseen: Dataset
) -> None:
    """The canonical W4A8 file runs in float even at the default level: law 12 b's limits hold."""
    prepared = make_prepared("int4-npu")
    model = to_proto(lower(prepared, prepared.profile))
    graph = read_graph(model)
    probes = {n.output: graph.qparams[n.output] for n in graph.nodes[:-1]}
    session = Session(model, probes)
    parts = runtime_against_simulator(session, graph, QDQ, [unseen], silent)
    assert "stem" in session.placement.floats
    assert [p.exact for p in parts] == [True, False]
    assert any(row.tensor == "stem" for row in parts[1].layers) and parts[1].misses() == []


def test_reference_equals_simulator_and_float_run_is_near(
    make_prepared: Callable[..., PreparedModel], unseen: Dataset
) -> None:
    prepared = make_prepared("int4-npu")
    model = to_proto(lower(prepared, prepared.profile))
    graph = read_graph(model)
    probes = {n.output: graph.qparams[n.output] for n in graph.nodes[:-1]}
    exact = reference_against_simulator(
        prepared, graph, prepared.profile.contract(), unseen.batches(100), silent
    )
    near = float_run_against_reference(
        prepared, Session(model, probes, optimised=False), graph, unseen.batches(100), silent
    )
    assert exact.different == 0 and exact.images == len(unseen) and exact.top1_decided > 400
    assert near.misses() == [] and near.compared == exact.compared


def test_output_tensor_is_found(make_prepared: Callable[..., PreparedModel]) -> None:
    prepared = make_prepared("ort-cpu")
    assert output_tensor(read_graph(to_proto(lower(prepared, prepared.profile)))) == "head"


def test_probes_do_not_change_placement(make_prepared: Callable[..., PreparedModel]) -> None:
    """Reading inner codes must leave the kernels that a deployed file gets."""
    prepared = make_prepared("int4-npu")
    model = translate(to_proto(lower(prepared, prepared.profile)), DIALECTS["onnxruntime"])
    graph = read_graph(model)
    probed = Session(model, {n.output: graph.qparams[n.output] for n in graph.nodes[:-1]})
    plain = Session(model)
    layers = [layer.name for layer in prepared.plan.layers]
    for session in (probed, plain):
        assert all(session.placement.runs_in_integers(name) for name in layers)
    x = {"x": np.zeros((2, 1, 8, 8), np.float32)}
    np.testing.assert_array_equal(probed.run(x)[0]["head"], plain.run(x)[0]["head"])
