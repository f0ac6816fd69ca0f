"""On every form of grid: what was trained is what the file holds and the target computes."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import Tensor

from deployq.arithmetic.contract import QDQ
from deployq.errors import InputError
from deployq.graph.codes import evaluate_codes, evaluate_steps
from deployq.graph.fake_quantize import FakeQuantize
from deployq.graph.integers import linear_calls
from deployq.graph.preparation import PreparedModel
from deployq.qgraph import read_graph
from deployq.qgraph.nodes import Linear
from deployq.train import learn_scales, settle_scales
from deployq_exporters.lowering import lower, to_proto
from deployq_targets.checks import check_model
from deployq_targets.checks.finding import Severity
from deployq_targets.words import ScaleForm, Sharing
from tests.train.digits import PROFILES, data, prepared_on, train_on


def quantizers(prepared: PreparedModel) -> Iterator[tuple[FakeQuantize, bool]]:
    """Each with whether it is an activation's."""
    yield from ((q, True) for q in prepared.quantizers().values())
    yield from ((unit.weight_quantizer, False) for unit in prepared.units().values())


def scales(prepared: PreparedModel) -> list[Tensor]:
    return [q.effective_scale().detach().clone() for q, _ in quantizers(prepared)]


def zero_points(prepared: PreparedModel) -> list[list[int]]:
    return [q.zero_point.reshape(-1).tolist() for q, _ in quantizers(prepared)]


@pytest.fixture(scope="module", params=PROFILES)
def settled(request: pytest.FixtureRequest) -> PreparedModel:
    """Trained with learned scales, settled, and trained on."""
    prepared = prepared_on(PROFILES[request.param]())
    zeros, steps = zero_points(prepared), learn_scales(prepared)
    before = [step.detach().clone() for step in steps]
    losses = train_on(prepared)
    assert losses[-1] < losses[0]
    still = [torch.equal(a, b) for a, b in zip(steps, before, strict=True)]
    assert sum(still) <= 1  # images whose pixels are on the grid say nothing of its scale
    settle_scales(prepared)
    resting = scales(prepared)
    train_on(prepared)
    assert all(torch.equal(a, b) for a, b in zip(scales(prepared), resting, strict=True))
    assert zero_points(prepared) == zeros
    return prepared


def test_scales_are_what_the_profile_has(settled: PreparedModel) -> None:
    profile = settled.profile
    for quantizer, is_activation in quantizers(settled):
        section = profile.activation if is_activation else profile.weight
        scale = quantizer.qparams().scale
        if section.scale_form is ScaleForm.POW2:
            assert (np.frexp(scale)[0] == 0.5).all()
        if section.granularity == (Sharing.TENSOR,):
            assert scale.shape == ()
        if section.zero_point == "zero":
            assert not quantizer.zero_point.any()


@pytest.mark.parametrize("settled", ["int2-vlsi", "max78000", "around-128"], indirect=True)
def test_the_file_has_the_trained_integers_and_passes_its_checks(settled: PreparedModel) -> None:
    model = to_proto(lower(settled, settled.profile))
    assert [f for f in check_model(model, settled.profile) if f.severity is Severity.ERROR] == []
    nodes = [node for node in read_graph(model).nodes if isinstance(node, Linear)]
    for node, call in zip(nodes, linear_calls(settled), strict=True):
        trained = call.unit.weight_quantizer.codes(call.seen_weight()).numpy()
        stored = node.weight.T if node.op_type == "Gemm" else node.weight
        assert len(np.unique(trained)) > 2
        np.testing.assert_array_equal(stored, trained)


def test_the_targets_arithmetic_computes_what_was_trained(settled: PreparedModel) -> None:
    """Each layer is fed the exact codes; the contract differs from real numbers at ties only."""
    x = data()[0][:64]
    exact = evaluate_steps(settled, QDQ, x)
    found = evaluate_codes(settled, settled.profile.contract(), x, forced=exact.codes)
    for name, codes in exact.codes.items():
        steps = exact.steps[name][found[name] != codes]
        # a multiplier is off by up to 2**-23, and steps are known to 2**-14
        assert ((steps - torch.floor(steps) - 0.5).abs() < 2.0**-13).all(), name


def test_unsettled_scales_miss_the_short_multiplier() -> None:
    """What settling is for: without it the codes above are others."""
    prepared = prepared_on(PROFILES["int2-vlsi"]())
    learn_scales(prepared)
    train_on(prepared)
    x = data()[0][:64]
    exact = evaluate_codes(prepared, QDQ, x)
    found = evaluate_codes(prepared, prepared.profile.contract(), x, forced=exact)
    assert sum(int((found[name] != codes).sum()) for name, codes in exact.items()) > 100


def test_scales_that_nobody_chose_cannot_settle() -> None:
    prepared = prepared_on(PROFILES["lowbit-vlsi"]())
    prepared.units()["b"].weight_quantizer.calibrated = False
    with pytest.raises(InputError, match=r"(?s)b\.weight: .*calibrated scale.*next: "):
        settle_scales(prepared)
