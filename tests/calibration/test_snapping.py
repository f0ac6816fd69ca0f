"""With snapped scales, the chip's short multiplier computes what the file says."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from deployq.arithmetic.contract import QDQ
from deployq.arithmetic.multiplier import choose_fixed
from deployq.arithmetic.precisions import real_multiplier
from deployq.errors import InputError, QuantizationError
from deployq.graph.capture import capture
from deployq.graph.codes import evaluate_codes, evaluate_steps
from deployq.graph.integers import layer_integers, output_params, output_quantizer
from deployq.graph.preparation import PreparedModel
from deployq.graph.scales import weight_lattice
from deployq_calibration import calibrate_model
from deployq_targets import TargetProfile
from tests.graph.networks import (
    Net,
    conv,
    images,
    prepared_for,
    profile_with,
    residual,
    with_statistics,
)  # fmt: skip

POW2: dict[str, Any] = {"activation__scale_form": "pow2", "weight__scale_form": "pow2"}


def chain() -> nn.Module:
    """Three convolutions, BatchNorm and ReLU between them: linear layers alone requantize."""
    torch.manual_seed(0)

    def body(m: Any, x: Tensor) -> Tensor:
        x = F.relu(m.norm_a(m.a(x)))
        return m.c(F.relu(m.norm_b(m.b(x))))

    parts = {"a": conv(3, 8), "b": conv(8, 8), "c": conv(8, 4, bias=True)}
    return with_statistics(
        Net(body, **parts, norm_a=nn.BatchNorm2d(8), norm_b=nn.BatchNorm2d(8))
    ).eval()


def calibrated(
    profile: TargetProfile, model: nn.Module | None = None, **chosen: str
) -> PreparedModel:
    prepared = prepared_for(capture(model or chain(), [images(2)]), profile)
    calibrate_model(prepared, lambda: [(images(16, seed=2),)], **chosen)  # type: ignore[arg-type]
    return prepared


def short(bits: int, scope: str) -> TargetProfile:
    return profile_with(
        "lowbit-vlsi", requant__multiplier_bits=bits, requant__shift_scope=scope,
        requant__shift_min=-8,
    )  # fmt: skip


def differing(prepared: PreparedModel) -> tuple[int, int]:
    """Codes that contract and exact real arithmetic disagree on, and those of them not at a tie.

    Every layer is fed the exact codes. A weight scale is a float32, so the real multiplier is the
    contract's to 2**-23: what the two decide differently lies within |code| 2**-23 of a tie.
    """
    x = images(64, seed=3)
    exact = evaluate_steps(prepared, QDQ, x)
    found = evaluate_codes(prepared, prepared.profile.contract(), x, forced=exact.codes)
    apart = far = 0
    for name, codes in exact.codes.items():
        wrong = found[name] != codes
        steps = exact.steps[name][wrong]
        distance = (steps - torch.floor(steps) - 0.5).abs()
        apart += int(wrong.sum())
        # steps themselves are known to 2**-14
        far += int((distance > 2.0**-13).sum())
    return apart, far


@pytest.mark.parametrize(
    ("bits", "scope", "least"),
    [(8, "channel", 500), (8, "layer", 1000), (12, "channel", 20), (16, "channel", 1),
     (16, "layer", 1)],
)  # fmt: skip
def test_codes_are_exact_on_the_lattice_and_not_off_it(
    bits: int, scope: str, least: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    profile = short(bits, scope)
    assert {layer.batch_norm for layer in calibrated(profile).plan.layers} == {"fold", "none"}
    assert differing(calibrated(profile))[1] == 0
    monkeypatch.setattr(weight_lattice, "_snapped", lambda prepared, call, grid: grid)
    assert differing(calibrated(profile))[1] >= least


@pytest.mark.parametrize("scope", ["channel", "layer"])
def test_the_multiplier_of_the_file_is_one_of_the_contracts(scope: str) -> None:
    prepared = calibrated(short(10, scope))
    form = prepared.profile.contract().form("Conv")
    for name, layer in layer_integers(prepared).items():
        y_scale = np.float32(output_params(output_quantizer(prepared, name)).scale)
        real = real_multiplier(np.float32(layer.input.scale), layer.weight.scale, y_scale)
        derived = choose_fixed(real, form)
        # the real number is the contract's to the precision of a float32
        assert np.allclose(derived.real, real, rtol=2.0**-23, atol=0)
        assert derived.mantissa.max() < 1 << 10 and not layer.codes.rescued
        assert scope == "channel" or len(set(derived.shift.tolist())) == 1


def pow2_profile(**changes: Any) -> TargetProfile:
    return profile_with("lowbit-vlsi", **POW2, **changes)


def exponents(prepared: PreparedModel) -> tuple[list[int], list[int]]:
    """Of activation and weight scales; fails where one is no power of two."""
    activations = [q.scale.detach() for q in prepared.quantizers().values()]
    weights = [u.weight_quantizer.scale.detach() for u in prepared.units().values()]
    found = []
    for scales in (activations, weights):
        fraction, exponent = torch.frexp(torch.cat([scale.reshape(-1) for scale in scales]))
        assert (fraction == 0.5).all()
        found.append([int(e) - 1 for e in exponent])
    return found[0], found[1]


@pytest.mark.parametrize("observer", ["minmax", "mse", "percentile", "entropy", "moving_average"])
def test_scales_are_powers_of_two(observer: str) -> None:
    exponents(calibrated(pow2_profile(), residual(), activations=observer))


def test_minmax_on_the_lattice_clips_nothing() -> None:
    free = calibrated(profile_with("lowbit-vlsi"), activations="minmax").quantizers()
    snapped = calibrated(pow2_profile(), activations="minmax").quantizers()
    for name, quantizer in snapped.items():
        assert float(free[name].scale) <= float(quantizer.scale) < 2 * float(free[name].scale)


def test_exponents_stay_in_the_profiles_range() -> None:
    profile = pow2_profile(activation__scale_exp_range=[-5, -4], weight__scale_exp_range=[-4, -3])
    activations, weights = exponents(calibrated(profile))
    assert {*activations} <= {-5, -4} and {*weights} <= {-4, -3}


def test_free_zero_points_follow_the_snapped_scale() -> None:
    profile = profile_with("int8-npu", activation__scale_form="pow2", weight__scale_form="pow2")
    prepared = calibrated(profile, activations="minmax")
    x = images(16, seed=2)
    quantizer = prepared.quantizers()["x"]
    step = float(quantizer.scale)
    assert np.frexp(step)[0] == 0.5
    moved = quantizer(x)
    assert (moved - x).abs().max() <= step / 2  # nothing is clipped


def test_a_shift_alone_computes_what_the_file_says() -> None:
    requant = {
        "requant__kind": "shift", "requant__multiplier_bits": None, "requant__shift_min": -15,
        "requant__shift_max": 15, "requant__by_op": {},
    }  # fmt: skip
    prepared = calibrated(pow2_profile(**requant))
    apart, far = differing(prepared)
    assert far == 0 and apart > 0  # half up and half even differ at ties, and only there


def test_a_relu6_is_kept_where_no_power_of_two_makes_it_redundant() -> None:
    profile = pow2_profile()
    net = Net(lambda m, x: m.b(F.relu6(m.a(x))), a=conv(3, 3), b=conv(3, 2)).eval()
    prepared = calibrated(profile, net)
    assert [layer.activation for layer in prepared.plan.layers] == ["kept", "none"]
    assert all(tensor.scale_limit is None for tensor in prepared.plan.tensors)


def test_a_large_bias_raises_the_weight_scale_instead_of_losing_the_channel() -> None:
    for profile in (pow2_profile(), short(8, "channel"), short(8, "layer")):
        net = Net(lambda m, x: m.a(x), a=conv(3, 3, bias=True)).eval()
        net.a.weight.data[1] *= 1e-10
        net.a.bias.data[1] = 3.0
        (layer,) = layer_integers(calibrated(profile, net)).values()
        assert not layer.codes.rescued
        real = layer.codes.bias * layer.codes.bias_scale.astype(np.float64)
        assert real[1] == pytest.approx(3.0, rel=1e-6)


def test_scales_that_left_the_lattice_are_refused_by_name() -> None:
    for where, name in (("activations.a", "a"), ("layers.a.weight_quantizer", r"a\.weight")):
        prepared = calibrated(pow2_profile())
        prepared.module.get_parameter(f"deployq.{where}.scale").data.mul_(1.5)
        match = rf"(?s)^{name}: scale: .*powers of two.*allowed: 2\*\*k.*next: "
        with pytest.raises(InputError, match=match):
            layer_integers(prepared)


def test_a_multiplier_that_the_hardware_lacks_is_refused_by_the_layers_name() -> None:
    profile = profile_with("lowbit-vlsi", requant__shift_min=40, requant__shift_max=47)
    with pytest.raises(
        QuantizationError, match=r"(?s)^a, multiplier of channel 0: .*found: shift 20 for 0.*next"
    ):
        calibrated(profile)


def test_one_operators_short_multiplier_folds_its_batch_norm() -> None:
    profile = profile_with("int8-npu", requant__by_op={"Conv": {"multiplier_bits": 12}})
    prepared = calibrated(profile)
    assert prepared.plan.layers[0].batch_norm == "fold"
    assert differing(prepared)[1] == 0
