"""Which sums join a layer when a network is prepared, and that file and reference agree on them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from deployq.accumulators import prove_accumulators
from deployq.arithmetic.contract import QDQ
from deployq.errors import ProfileError, UnsupportedError
from deployq.golden_vectors.tracing import integer_nodes
from deployq.graph.codes import evaluate_codes
from deployq.graph.preparation import PreparedModel
from deployq.qgraph import read_graph
from deployq.qgraph.nodes import Elementwise, Linear
from deployq.simulator import run_graph
from deployq.simulator.shapes import code_shapes
from deployq_exporters.lowering import lower, to_proto
from deployq_exporters.tflite import write_tflite
from deployq_targets import load_profile
from deployq_targets.loader import parse_profile
from tests.graph.networks import (
    Net,
    calibrated,
    conv,
    graph_of,
    images,
    prepared_for,
    profile_with,
    residual_for,
)

TARGETS = ("openvino-cpu", "tensorrt")


def prepared(body: Any, target: str = "openvino-cpu", **children: Any) -> PreparedModel:
    torch.manual_seed(0)
    return calibrated(Net(body, **children).eval(), target)


def joined(prepared: PreparedModel) -> dict[str, str]:
    """Layer to its addend, as the file says them."""
    graph = read_graph(to_proto(lower(prepared, prepared.profile)), joins_sums=True)
    layers = (node for node in graph.nodes if isinstance(node, Linear))
    return {n.name: n.addend.removesuffix(".codes") for n in layers if n.addend is not None}


def test_the_later_of_two_layers_takes_the_sum() -> None:
    made = prepared(
        lambda m, x: F.relu(m.first(x) + m.norm(m.second(x))),
        first=conv(3, 4), second=conv(3, 4), norm=nn.BatchNorm2d(4),
    )  # fmt: skip
    assert joined(made) == {"second": "first"}
    assert [tensor.name for tensor in made.plan.tensors] == ["x", "first", "second"]
    assert made.plan.layers[1].activation == "removed"


@pytest.mark.parametrize(
    "body",
    [
        lambda m, x: m.conv(x) + F.relu(m.other(x)),  # traced before its addend
        lambda m, x: F.max_pool2d(x, 3, 1, 1) + m.conv(x),
        lambda m, x: m.drop(m.conv(x)) + x,
        lambda m, x: F.avg_pool2d(x, 3, 1, 1) + m.drop(m.drop(m.conv(x))),
    ],
)
def test_where_the_sum_is_part_of_the_layer(body: Any) -> None:
    made = prepared(body, conv=conv(3, 3), other=conv(3, 3), drop=nn.Dropout(0.5))
    assert list(joined(made)) == ["conv"]
    _agree(made, images(seed=4))


def test_a_shortcut_of_moved_codes() -> None:
    made = prepared(lambda m, x: m.conv(x) + F.pad(x[:, :, :, 1:], (0, 1)), conv=conv(3, 3))
    assert list(joined(made)) == ["conv"]


@pytest.mark.parametrize(
    "body",
    [
        lambda m, x: F.relu(m.conv(x)) + x,  # clamped before the sum
        lambda m, x: (y := m.conv(x)) + x + y,  # read twice
        lambda m, x: m.conv(x) + x[:, :1],  # broadcast
        lambda m, x: m.conv(x) * x,
    ],
)
def test_what_joins_nothing(body: Any) -> None:
    made = prepared(body, conv=conv(3, 3))
    assert joined(made) == {} and len(made.plan.tensors) > 2  # the layer has a grid of its own
    _agree(made, images(seed=4))


def test_a_chip_without_other_sums_refuses_them() -> None:
    strict = profile_with("tensorrt", graph__residual="q_skip_only")
    assert joined(residual_for(strict))
    clamped = graph_of(lambda m, x: F.relu(m.conv(x)) + x, conv=conv(3, 3))
    with pytest.raises(UnsupportedError, match=r"(?s)add: .*q_skip_only.*found: a sum of conv"):
        prepared_for(clamped, strict)
    prepared_for(clamped, "tensorrt")


def test_a_target_without_sums_joins_none() -> None:
    table = load_profile("tensorrt").model_dump(mode="json")
    for rule in table["op"]:
        rule["status"] = "unsupported" if rule["type"] == "Add" else rule["status"]
    with pytest.raises(UnsupportedError, match="Add"):
        residual_for(parse_profile(table, "test"))


def test_overflow_witnesses_feed_the_layer_alone(tmp_path: Path) -> None:
    made = residual_for("tensorrt")
    proof = prove_accumulators(
        to_proto(lower(made, made.profile)), "tensorrt", witnesses=tmp_path / "w", every_layer=True
    )
    assert not proof.floats and len(proof.witnesses) == len(proof.layers)


def test_litert_files_refuse_by_name() -> None:
    made = prepared(lambda m, x: m.conv(x) + x, conv=conv(3, 3))
    model = to_proto(lower(made, made.profile))
    graph = read_graph(model, joins_sums=True)
    with pytest.raises(UnsupportedError, match=r"(?s)node conv .*rounds what it computed itself"):
        write_tflite(graph, code_shapes(model, graph) or {})


def test_targets_with_codes_on_both_branches_have_a_sum() -> None:
    made = prepared(lambda m, x: m.conv(x) + x, "ort-cpu", conv=conv(3, 3))
    graph = read_graph(to_proto(lower(made, made.profile)), joins_sums=True)
    assert any(isinstance(node, Elementwise) for node in graph.nodes)


@pytest.mark.parametrize("target", TARGETS)
def test_reference_and_file_agree(target: str) -> None:
    made = residual_for(target)
    assert joined(made)
    _agree(made, images(seed=4))


def _agree(made: PreparedModel, x: torch.Tensor) -> None:
    graph = read_graph(to_proto(lower(made, made.profile)), joins_sums=True)
    for contract in (QDQ, made.profile.contract()):
        codes = run_graph(graph, contract, {graph.inputs[0]: x.numpy()}).codes
        for name, own in evaluate_codes(made, contract, x).items():
            other = codes.get(f"{name}.codes", codes.get(name))
            assert other is not None and torch.equal(own, other), name


def test_a_fixed_multiplier_has_no_place_for_it() -> None:
    with pytest.raises(ProfileError, match=r"(?s)graph\.residual.*exact or float32"):
        residual_for(profile_with("int8-npu", graph__residual="q_skip_only"))


def test_golden_vectors_name_the_layer_that_they_cannot_have() -> None:
    made = prepared(lambda m, x: m.conv(x) + x, conv=conv(3, 3))
    graph = read_graph(to_proto(lower(made, made.profile)), joins_sums=True)
    with pytest.raises(UnsupportedError, match=r"(?s)conv: .*joins the sums"):
        integer_nodes(graph)
