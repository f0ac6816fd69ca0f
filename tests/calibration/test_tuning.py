"""Tuning: what moves, what stays, and what the corrections before it are held to."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from deployq.graph.integers import layer_integers
from deployq.graph.preparation import PreparedModel
from deployq_calibration import calibrate_model
from deployq_calibration.corrections import (
    CorrectionSettings,
    correct_biases,
    learn_rounding,
    tune_scales,
)
from deployq_calibration.corrections.modes import FloatNetwork
from tests.graph.networks import images, prepared_for, residual_graph

QUICK = CorrectionSettings(iterations=60, batch=8, scale_rate=0.003)


def batches() -> list[tuple[Tensor]]:
    return [(images(32, seed=4),)]


def calibrated(target: str) -> PreparedModel:
    torch.manual_seed(5)
    prepared = prepared_for(residual_graph(), target)
    calibrate_model(prepared, batches)
    return prepared


def codes(prepared: PreparedModel) -> dict[str, list[int]]:
    return {
        name: found.codes.codes.ravel().tolist() for name, found in layer_integers(prepared).items()
    }


def error(prepared: PreparedModel, wanted: Tensor) -> float:
    with torch.no_grad():
        return float((prepared.module(batches()[0][0]) - wanted).square().mean())


def float_output(prepared: PreparedModel, original: FloatNetwork) -> Tensor:
    with original.active(), torch.no_grad():
        output: Tensor = prepared.module(batches()[0][0])
    return output


@pytest.mark.parametrize(("target", "scales_learn"), [("int4-npu", True), ("lowbit-vlsi", False)])
def test_codes_stay_and_the_outputs_come_nearer(target: str, scales_learn: bool) -> None:
    prepared = calibrated(target)
    before, scale = codes(prepared), prepared.units()["head"].weight_quantizer.scale.clone()
    wanted = float_output(prepared, FloatNetwork(prepared))
    far = error(prepared, wanted)
    told: list[str] = []
    (change,) = tune_scales(prepared, batches, QUICK, told.append)
    assert change.after < 0.95 * change.before and not change.skipped
    assert error(prepared, wanted) < 0.95 * far
    assert codes(prepared) == before
    moved = not torch.equal(prepared.units()["head"].weight_quantizer.scale, scale)
    assert moved == scales_learn
    assert told == ["tune"] * QUICK.iterations
    assert all(parameter.grad is None for parameter in prepared.module.parameters())


def test_what_gets_no_better_stays() -> None:
    prepared = calibrated("int4-npu")
    before = {name: tensor.clone() for name, tensor in prepared.module.state_dict().items()}
    wild = CorrectionSettings(iterations=3, batch=8, scale_rate=5.0)
    (change,) = tune_scales(prepared, batches, wild)
    assert change.skipped == "the outputs came no nearer"
    after = prepared.module.state_dict()
    assert all(torch.equal(after[name], before[name]) for name in before)


def test_wide_weights_and_three_samples_are_left_alone() -> None:
    assert tune_scales(calibrated("int8-npu"), batches, QUICK) == ()
    assert tune_scales(calibrated("int4-npu"), lambda: [(images(3),)], QUICK) == ()


def test_biases_are_held_to_the_network_before_its_weights_were_rounded() -> None:
    prepared = calibrated("int4-npu")
    original = FloatNetwork(prepared)
    wanted = float_output(prepared, original).mean(0)
    learn_rounding(prepared, batches, QUICK, original=original)
    correct_biases(prepared, batches, QUICK, original=original)
    with torch.no_grad():
        found = prepared.module(batches()[0][0]).mean(0)
    step = prepared.quantizers()[prepared.plan.tensors[-1].name].effective_scale()
    assert ((found - wanted).abs() < step).all()


def test_the_original_is_back_for_a_while_only() -> None:
    prepared = calibrated("int4-npu")
    original, weight = FloatNetwork(prepared), prepared.module.get_parameter("stem.weight")
    before = weight.detach().clone()
    with torch.no_grad():
        weight.mul_(2.0)
    rounded = weight.detach().clone()
    with original.active():
        assert torch.equal(weight, before)
    assert torch.equal(weight, rounded)
