"""Residuals that operators in float read stay in reals, and file, simulator and reference agree."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from deployq import evolve_scales, pipeline
from deployq.arithmetic.contract import QDQ
from deployq.data import Dataset
from deployq.errors import ProfileError, UnsupportedError
from deployq.golden_vectors.tracing import integer_nodes
from deployq.graph.codes import evaluate_codes
from deployq.graph.preparation import PreparedModel
from deployq.qgraph import read_graph
from deployq.qgraph.nodes import Linear
from deployq.simulator import run_graph
from deployq.simulator.shapes import code_shapes
from deployq_calibration.calibration_settings import CalibrationSettings
from deployq_calibration.evolq import EvolveSettings
from deployq_exporters.lowering import lower, to_proto
from deployq_exporters.tflite import write_tflite
from tests.graph.networks import Net, conv, graph_of, prepared_for, profile_with

SIZE = 8


def rows(count: int = 16) -> torch.Tensor:
    """One channel of the residual is a hundred times as large as the others."""
    x = torch.randn(count, 5, SIZE, generator=torch.Generator().manual_seed(0))
    x[..., 0] *= 100
    return x


def body(m: Any, x: torch.Tensor) -> Any:
    y = m.embed(x)
    y = y + m.second(m.first(m.norm(y)))
    return m.head(m.last(y)[:, 0])


def network() -> nn.Module:
    torch.manual_seed(0)
    layers = {name: nn.Linear(SIZE, SIZE) for name in ("embed", "first", "second")}
    norms = {name: nn.LayerNorm(SIZE) for name in ("norm", "last")}
    return Net(body, **layers, **norms, head=nn.Linear(SIZE, 3)).eval()


def prepared(target: str = "ort-cpu") -> PreparedModel:
    made = pipeline.prepare(network(), [rows(2)], target)
    pipeline.calibrate(made, Dataset({"x": rows().numpy()}), CalibrationSettings(corrections=()))
    return made


def assert_is_exported_and_verified(made: PreparedModel, folder: Path) -> None:
    data = Dataset({"x": rows(64).numpy()})
    assert "add: float, a sum of reals" in made.plan.floats
    pipeline.calibrate(made, data, CalibrationSettings(corrections=()))
    pipeline.export(made, folder / "bundle", data)
    report = pipeline.verify(folder / "bundle", data, latency_runs=1)
    assert [p.name for p in report.parities if p.misses()] == []


def test_a_residual_has_no_grid_and_its_layers_return_reals() -> None:
    made = prepared()
    assert [t.name for t in made.plan.tensors] == ["x", "norm", "first", "last", "head"]
    assert "add: float, a sum of reals" in made.plan.floats
    graph = read_graph(to_proto(lower(made, made.profile)))
    ends = {node.name: node.output for node in graph.in_reals if isinstance(node, Linear)}
    assert ends == {"embed.product": "embed.real", "second.product": "second.real"}
    assert "add" in {node.name for node in graph.floats}  # named after the user's sum


def test_a_target_without_such_products_has_the_residual_on_grids() -> None:
    assert {"embed", "second", "add"} <= {t.name for t in prepared("int8-npu").plan.tensors}


def test_simulator_and_reference_agree_on_every_code_in_any_batch() -> None:
    made = prepared()
    graph, x = read_graph(to_proto(lower(made, made.profile))), rows()
    simulated = run_graph(graph, QDQ, {"x": x.numpy()}).codes
    for count in (16, 3):
        for name, codes in evaluate_codes(made, QDQ, x[:count]).items():
            assert torch.equal(codes.long(), simulated[f"{name}.codes"][:count].long()), name


def test_the_reals_are_exact_sums_times_both_scales() -> None:
    made = prepared()
    graph = read_graph(to_proto(lower(made, made.profile)))
    (layer,) = (n for n in graph.nodes if isinstance(n, Linear) and n.output == "embed.real")
    codes = run_graph(graph, QDQ, {"x": rows().numpy()}).codes[layer.inputs[0]].numpy()
    qx = graph.qparams[layer.inputs[0]]
    sums = (codes.astype(np.int64) - qx.zero_point) @ layer.weight + layer.bias
    wanted = sums * (np.float64(qx.scale) * layer.weight_qparams.scale.astype(np.float64))
    cut = replace(graph, outputs=("embed.real",))
    found = run_graph(cut, QDQ, {"x": rows().numpy()}).outputs["embed.real"]
    assert np.array_equal(found, wanted.astype(np.float32))


def test_the_bundle_is_verified_and_runs_its_products_in_integers(tmp_path: Path) -> None:
    made = prepared()
    data = Dataset({"x": rows(64).numpy()})
    pipeline.export(made, tmp_path / "bundle", data)
    report = pipeline.verify(tmp_path / "bundle", data, latency_runs=1)
    assert [p.name for p in report.parities if p.misses()] == []
    assert report.latency is not None and report.latency.integer_share == 1.0


def test_a_sum_that_an_integer_layer_reads_too_gets_its_grid_behind_it(tmp_path: Path) -> None:
    def forked(m: Any, x: torch.Tensor) -> Any:
        y = x + m.embed(x)
        return m.first(y) + m.second(m.norm(y))

    layers = {name: nn.Linear(SIZE, SIZE) for name in ("embed", "first", "second")}
    net = Net(forked, norm=nn.LayerNorm(SIZE), **layers).eval()
    made = pipeline.prepare(net, [rows(2)], "ort-cpu")
    assert "add" in {t.name for t in made.plan.tensors}
    assert_is_exported_and_verified(made, tmp_path)


def test_codes_are_added_to_a_layer_in_reals(tmp_path: Path) -> None:
    """Where the sum is in reals it is no part of the layer."""

    def body(m: Any, x: torch.Tensor) -> Any:
        y = m.embed(x)
        return m.head(m.norm(y * y + m.first(y)))

    layers = {name: nn.Linear(SIZE, SIZE) for name in ("embed", "first")}
    net = Net(body, norm=nn.LayerNorm(SIZE), head=nn.Linear(SIZE, 3), **layers).eval()
    assert_is_exported_and_verified(pipeline.prepare(net, [rows(2)], "ort-cpu"), tmp_path)


@pytest.mark.parametrize("is_read_twice", [False, True])
def test_a_sum_in_reals_of_operands_that_have_grids(is_read_twice: bool, tmp_path: Path) -> None:
    """Integer operators read both operands too; and the sum, where it is read twice."""

    def crossed(m: Any, x: torch.Tensor) -> Any:
        a, b = m.first(x), m.second(x)
        y = a + b
        scores = m.head(m.norm(y)) + m.head(a * b)
        return scores + m.head(y) if is_read_twice else scores

    layers = {name: nn.Linear(SIZE, SIZE) for name in ("first", "second")}
    net = Net(crossed, norm=nn.LayerNorm(SIZE), head=nn.Linear(SIZE, 3), **layers).eval()
    assert_is_exported_and_verified(pipeline.prepare(net, [rows(2)], "ort-cpu"), tmp_path)


def test_convolutions_and_their_sums_stay_on_grids() -> None:
    layers = {"first": conv(3, 4), "second": conv(3, 4), "last": conv(4, 2)}
    made = prepared_for(
        graph_of(lambda m, x: m.last(m.first(x) + m.second(x)), **layers), "ort-cpu"
    )
    assert {t.name for t in made.plan.tensors} >= {"first", "second", "add"}


def gelu_network() -> nn.Module:
    torch.manual_seed(0)
    layers = {"first": nn.Linear(SIZE, SIZE), "second": nn.Linear(SIZE, SIZE)}
    return Net(lambda m, x: m.second(nn.functional.gelu(m.first(x))), **layers).eval()


def test_a_function_in_float_reads_reals_and_its_codes_are_the_simulators() -> None:
    made = pipeline.prepare(gelu_network(), [rows(2)], "ort-cpu")
    assert [t.name for t in made.plan.tensors] == ["x", "gelu", "second"]
    assert "gelu: float, ort-cpu runs Gelu as float" in made.plan.floats
    pipeline.calibrate(made, Dataset({"x": rows().numpy()}), CalibrationSettings(corrections=()))
    graph = read_graph(to_proto(lower(made, made.profile)))
    assert [node.name for node in graph.in_reals] == ["first.product", "gelu"]
    simulated = run_graph(graph, QDQ, {"x": rows().numpy()}).codes
    for name, codes in evaluate_codes(made, QDQ, rows()).items():
        # two libraries compute GELU in float32: no code of these 640 is so near a tie
        assert torch.equal(codes.long(), simulated[f"{name}.codes"].long()), name


def test_a_function_on_codes_reads_codes() -> None:
    made = pipeline.prepare(gelu_network(), [rows(2)], "lowbit-vlsi")
    assert [t.name for t in made.plan.tensors] == ["x", "first", "gelu", "second"]


def test_a_layer_that_an_integer_operator_reads_too_keeps_its_codes() -> None:
    def forked(m: Any, x: torch.Tensor) -> Any:
        y = m.first(x)
        return m.second(nn.functional.gelu(y)) + m.embed(y)

    layers = {name: nn.Linear(SIZE, SIZE) for name in ("embed", "first", "second")}
    made = pipeline.prepare(Net(forked, **layers).eval(), [rows(2)], "ort-cpu")
    assert {"first", "gelu"} <= {t.name for t in made.plan.tensors}
    pipeline.calibrate(made, Dataset({"x": rows().numpy()}), CalibrationSettings(corrections=()))
    simulated = run_graph(
        read_graph(to_proto(lower(made, made.profile))), QDQ, {"x": rows().numpy()}
    ).codes
    for name, codes in evaluate_codes(made, QDQ, rows()).items():
        assert torch.equal(codes.long(), simulated[f"{name}.codes"].long()), name


@pytest.mark.parametrize(
    ("operand", "grids"),
    [(lambda m, x: m.embed(x), ["embed"]), (lambda m, x: m.embed(x) + x, ["embed", "add"])],
    ids=["layer", "sum"],
)
def test_what_is_clamped_keeps_its_codes(operand: Any, grids: list[str]) -> None:
    layers = {"embed": nn.Linear(SIZE, SIZE), "head": nn.Linear(SIZE, 3)}
    norm = nn.LayerNorm(SIZE)
    net = Net(lambda m, x: m.head(m.norm(operand(m, x).relu())), norm=norm, **layers).eval()
    made = pipeline.prepare(net, [rows(2)], "ort-cpu")
    assert [tensor.name for tensor in made.plan.tensors] == ["x", *grids, "norm", "head"]


def test_what_has_no_form_for_reals_says_so() -> None:
    made = prepared()
    model = to_proto(lower(made, made.profile))
    graph = read_graph(model)
    assert all(node.writes_codes for node in integer_nodes(graph))  # golden vectors leave them out
    shapes = code_shapes(model, graph)
    assert shapes is not None and shapes["embed.real"] == (1, 5, SIZE)
    with pytest.raises(UnsupportedError, match="returns codes"):
        write_tflite(graph, shapes)


def test_scales_of_layers_in_reals_are_searched() -> None:
    made, x = prepared(), rows(32)
    before = made.units()["second"].weight_quantizer.scale.clone()
    settings = EvolveSettings(passes=1, samples=32, batch=8, searched="all", activations=True)
    evolve_scales(made, Dataset({"x": x.numpy()}), settings, teacher=network())
    assert not torch.equal(before, made.units()["second"].weight_quantizer.scale)
    graph = read_graph(to_proto(lower(made, made.profile)))
    simulated = run_graph(graph, QDQ, {"x": x.numpy()}).codes["head.codes"]
    assert torch.equal(evaluate_codes(made, QDQ, x)["head"].long(), simulated.long())


@pytest.mark.parametrize(("products", "base"), [(["Conv"], "ort-cpu"), (["Gemm"], "int8-npu")])
def test_products_in_reals_need_a_form_without_multipliers(products: list[str], base: str) -> None:
    profile = profile_with(base, graph__real_outputs=products)
    with pytest.raises(ProfileError, match=r"graph\.real_outputs"):
        pipeline.prepare(network(), [rows(2)], profile)
