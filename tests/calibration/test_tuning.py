"""Tuning: what moves, what stays, and what the corrections before it are held to."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from deployq.graph.capture import capture
from deployq.graph.integers import layer_integers
from deployq.graph.preparation import PreparedModel
from deployq_calibration import calibrate_model
from deployq_calibration.corrections import (
    CorrectionSettings,
    FloatNetwork,
    correct_biases,
    correct_model,
    learn_rounding,
    tune_scales,
)
from tests.graph.networks import Net, conv, images, prepared_for, residual_graph

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
    assert list(after) == list(before)
    assert all(torch.equal(after[name], before[name]) for name in before)


def test_wide_weights_are_left_alone_without_a_look_at_the_data() -> None:
    assert tune_scales(calibrated("int8-npu"), list, QUICK) == ()


def ready(body: Callable[[Net, Tensor], Tensor], target: str, **layers: nn.Module) -> PreparedModel:
    """A small network prepared and calibrated for a target."""
    prepared = prepared_for(capture(Net(body, **layers).eval(), [images(2)]), target)
    calibrate_model(prepared, batches)
    return prepared


def tied() -> PreparedModel:
    """Two convolutions with one bias, on a target whose scales lie on a lattice."""
    a, b = conv(3, 4, bias=True), conv(4, 4, bias=True)
    b.bias = a.bias
    return ready(lambda m, x: m.b(F.relu(m.a(x))), "lowbit-vlsi", a=a, b=b)


@pytest.mark.parametrize(
    ("prepared", "samples", "reason"),
    [
        (lambda: calibrated("int4-npu"), 3, "fewer than 4 samples"),
        (lambda: ready(lambda m, x: m.a(x).argmax(1), "int4-npu", a=conv(3, 4)), 8, "no output is"),
        (tied, 8, "no scale and no bias"),
    ],
)
def test_what_stands_in_the_way_is_said(
    prepared: Callable[[], PreparedModel], samples: int, reason: str
) -> None:
    model = prepared()
    before = list(model.module.state_dict())
    (change,) = tune_scales(model, lambda: [(images(samples),)], QUICK)
    assert change.skipped.startswith(reason)
    assert list(model.module.state_dict()) == before


def test_the_network_s_own_parameters_gather_no_gradients() -> None:
    a, b = conv(3, 3, bias=True), conv(3, 3)
    prepared = ready(lambda m, x: m.b(m.a(F.relu(m.a(x)))), "int4-npu", a=a, b=b)
    learning = [parameter.requires_grad for parameter in prepared.module.parameters()]
    tune_scales(prepared, batches, QUICK)
    assert all(parameter.grad is None for parameter in prepared.module.parameters())
    assert [parameter.requires_grad for parameter in prepared.module.parameters()] == learning


@pytest.mark.parametrize("channels", [8, 5])  # 8 is the height of the maps as well
@pytest.mark.parametrize("names", [("bias",), ("tuning",)])
def test_channels_of_a_fully_connected_layer_are_last_on_maps_too(
    channels: int, names: tuple[str, ...]
) -> None:
    def body(m: Net, x: Tensor) -> Tensor:
        return m.b(F.relu(m.a(x)).permute(0, 2, 3, 1))

    prepared = ready(body, "int4-npu", a=conv(3, 8), b=nn.Linear(8, channels))
    original = FloatNetwork(prepared)
    wanted = float_output(prepared, original)
    far = (prepared.module(batches()[0][0]) - wanted).mean((0, 1, 2)).abs().max()
    correct_model(prepared, batches, QUICK, names=names)
    near = (prepared.module(batches()[0][0]) - wanted).mean((0, 1, 2)).abs().max()
    assert near < far


@pytest.mark.parametrize("groups", [1, 2])
def test_a_transposed_convolution_without_a_bias_gets_one_of_its_outputs(groups: int) -> None:
    up = nn.ConvTranspose2d(8, 4, 2, 2, groups=groups, bias=False)
    prepared = ready(lambda m, x: m.up(F.relu(m.a(x))), "ort-cpu", a=conv(3, 8), up=up)
    correct_biases(prepared, batches, QUICK)
    assert prepared.module.get_parameter("up.bias").shape == (4,)
    prepared.module(batches()[0][0])


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
