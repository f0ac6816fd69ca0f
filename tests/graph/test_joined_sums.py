"""Which sums join a layer when a network is prepared, and that file and reference agree on them."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from deployq.arithmetic.contract import QDQ
from deployq.errors import ProfileError, UnsupportedError
from deployq.golden_vectors.tracing import integer_nodes
from deployq.graph.codes import evaluate_codes
from deployq.graph.preparation import PreparedModel
from deployq.qgraph import read_graph
from deployq.qgraph.nodes import Elementwise, Linear
from deployq.simulator import run_graph
from deployq_exporters.lowering import lower, to_proto
from tests.graph.networks import Net, calibrated, conv, images, profile_with, residual_for

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
    assert joined(prepared(body, conv=conv(3, 3))) == {}


def test_targets_with_codes_on_both_branches_have_a_sum() -> None:
    made = prepared(lambda m, x: m.conv(x) + x, "ort-cpu", conv=conv(3, 3))
    graph = read_graph(to_proto(lower(made, made.profile)), joins_sums=True)
    assert any(isinstance(node, Elementwise) for node in graph.nodes)


@pytest.mark.parametrize("target", TARGETS)
def test_reference_and_file_agree(target: str) -> None:
    made, x = residual_for(target), images(seed=4)
    assert joined(made)
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
