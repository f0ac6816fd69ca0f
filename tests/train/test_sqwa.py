"""SQWA: integer codes sum exactly, on every kind of grid and layer.

Training is a random walk here: what is averaged does not matter, only that it is done exactly.
"""

from __future__ import annotations

import copy
import io
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import deployq
from deployq.errors import InputError, UnsupportedError
from deployq.graph.integers import linear_calls
from deployq.graph.preparation import PreparedModel, disable_quantizers
from deployq.graph.recipe import LayerRecipe, Recipe
from deployq.qtypes import QType
from deployq.train import SQWA, learn_scales
from deployq.train.multi_level import multi_level_type
from tests.graph.networks import (
    Net,
    calibrated,
    conv,
    images,
    profile_with,
    residual_for,
    with_statistics,
)
from tests.train.loops import same, state

TERNARY = Recipe(weight_bits=2)


def plain_net() -> nn.Module:
    """conv, BatchNorm, ReLU, depthwise, BatchNorm, mean, fully connected."""
    torch.manual_seed(0)
    model = Net(
        lambda m, x: m.fc(m.norm2(m.depth(F.relu(m.norm(m.conv(x))))).mean((2, 3))),
        conv=conv(3, 4), norm=nn.BatchNorm2d(4), depth=conv(4, 4, groups=4),
        norm2=nn.BatchNorm2d(4), fc=nn.Linear(4, 3),
    )  # fmt: skip
    return with_statistics(model).eval()


def transposed_net(groups: int) -> nn.Module:
    """conv, transposed convolution, BatchNorm."""
    torch.manual_seed(0)
    up = nn.ConvTranspose2d(4, 8, 2, stride=2, groups=groups)
    model = Net(
        lambda m, x: m.norm(m.up(m.conv(x))), conv=conv(3, 4), up=up, norm=nn.BatchNorm2d(8)
    )
    return with_statistics(model).eval()


def per_tensor() -> PreparedModel:
    return calibrated(
        plain_net(), profile_with("int8-npu", weight__granularity=["tensor"], weight__axis={})
    )


MODELS = {
    "ternary, folded": lambda: residual_for("lowbit-vlsi", TERNARY),
    "full 2-bit, folded": lambda: calibrated(plain_net(), "int2-vlsi"),
    "4-bit, absorbed": lambda: residual_for("int4-npu"),
    "8-bit, absorbed": lambda: residual_for("ort-cpu"),
    "mixed": lambda: residual_for("lowbit-vlsi", Recipe(2, 4, {"wide": LayerRecipe(6)}, 8, 8)),
    "one scale, folded": per_tensor,
    "transposed": lambda: calibrated(transposed_net(1), "ort-cpu"),
    "transposed in groups": lambda: calibrated(transposed_net(2), "ort-cpu"),
}
models = pytest.mark.parametrize("make", MODELS.values(), ids=MODELS)


def walk(prepared: PreparedModel, seed: int) -> None:
    """Weights and what else learns move a little; gains keep their sign."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in prepared.module.parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            if parameter.ndim > 1:
                parameter += noise * parameter.abs().mean() / 3
            elif parameter.requires_grad:
                parameter *= 1 + noise / 8


def codes_of(prepared: PreparedModel) -> dict[str, Tensor]:
    calls = linear_calls(prepared)
    return {call.name: call.unit.weight_quantizer.codes(call.seen_weight()) for call in calls}


def captured(prepared: PreparedModel, captures: int) -> tuple[SQWA, list[dict[str, Tensor]]]:
    """After ``captures`` captures; with the codes of each."""
    for name, parameter in prepared.module.named_parameters():
        parameter.requires_grad_(not name.startswith("deployq."))
    sqwa, codes = SQWA(prepared), []
    sqwa.begin()
    for index in range(captures):
        walk(prepared, index)
        sqwa.capture()
        codes.append(codes_of(prepared))
    return sqwa, codes


@models
def test_the_codes_of_the_average_are_the_sums(make: Any) -> None:
    prepared = make()
    sqwa, codes = captured(prepared, 3)
    steps = {name: unit.weight_quantizer.scale for name, unit in prepared.units().items()}
    averaged = sqwa.average()
    layers = {layer.name: layer for layer in averaged.plan.layers}
    for call, found in zip(linear_calls(averaged), codes_of(averaged).values(), strict=True):
        total = sum(each[call.name] for each in codes)
        assert torch.equal(found, total) and total.abs().max() > 0
        qtype = prepared.units()[call.name].weight_quantizer.qtype
        assert found.unique().numel() <= 3 * (qtype.qmax - qtype.qmin) + 1
        assert layers[call.name].qtype == call.unit.weight_quantizer.qtype
        torch.testing.assert_close(call.unit.weight_quantizer.scale, steps[call.name] / 3)
    assert averaged.module(images()).isfinite().all()


@models
@pytest.mark.parametrize("refit", [False, True], ids=["kept", "refit"])
def test_one_capture_requantized_is_itself(make: Any, refit: bool) -> None:
    prepared = make()
    sqwa, (codes,) = captured(prepared, 1)
    found = sqwa.requantize(sqwa.average(), refit=refit)
    assert found.plan == prepared.plan
    if refit:  # a coarser grid that holds all weights is as good
        kept = {c.name: c.unit.weight_quantizer(c.seen_weight()) for c in linear_calls(prepared)}
        for call in linear_calls(found):
            again = call.unit.weight_quantizer(call.seen_weight())
            torch.testing.assert_close(again, kept[call.name])
        return
    assert all(torch.equal(codes[name], again) for name, again in codes_of(found).items())
    assert torch.equal(found.module(images()), prepared.module.eval()(images()))


@pytest.mark.parametrize("captures", [3, 6])
def test_ternary_codes_are_a_vote_and_a_tie_is_zero(captures: int) -> None:
    prepared = calibrated(Net(lambda m, x: m.conv(x), conv=conv(3, 40)), "lowbit-vlsi", TERNARY)
    sqwa, codes = captured(prepared, captures)
    (vote,) = codes_of(sqwa.requantize(sqwa.average(), refit=False)).values()
    total = sum(each["conv"] for each in codes)
    assert torch.equal(vote, total.sign() * (2 * total.abs() > captures))
    assert bool((2 * total.abs() == captures).any()) == (captures % 2 == 0)
    assert not torch.equal(vote, codes[-1]["conv"])


def test_requantized_codes_are_the_nearest_to_the_mean_code() -> None:
    sqwa, codes = captured(residual_for("int4-npu"), 3)
    for name, found in codes_of(sqwa.requantize(sqwa.average(), refit=False)).items():
        total = sum(each[name] for each in codes)
        assert torch.equal(found, (total / 3).round().int())


@pytest.mark.parametrize(
    ("narrow", "captures", "bits"),
    [
        (True, 1, 2),
        (True, 3, 3),
        (True, 7, 4),
        (True, 8, 5),
        (True, 15, 5),
        (False, 4, 4),
        (False, 7, 5),
    ],
)
def test_precision_grows_with_the_captures(narrow: bool, captures: int, bits: int) -> None:
    """Spec of the method: 3, 7 and 15 ternary models fit 3, 4 and 5 bits to the last level."""
    qtype = QType(2, True, narrow)
    assert multi_level_type(qtype, captures) == QType(bits, True, narrow)


def test_seven_ternary_models_have_fifteen_levels() -> None:
    prepared = calibrated(Net(lambda m, x: m.conv(x), conv=conv(3, 40)), "lowbit-vlsi", TERNARY)
    sqwa, _ = captured(prepared, 7)
    (codes,) = codes_of(sqwa.average()).values()
    assert codes.unique().tolist() == list(range(-7, 8))


def test_float_parameters_are_means() -> None:
    prepared = residual_for("lowbit-vlsi", TERNARY)
    learn_scales(prepared, weights=False)
    sqwa, seen = SQWA(prepared), []
    sqwa.begin()
    for index in range(3):
        for parameter in (p for p in prepared.module.parameters() if p.requires_grad):
            parameter.data *= 1 + index / 8
        sqwa.capture()
        seen.append({n: p.detach().clone() for n, p in prepared.module.named_parameters()})
    weights = {layer.weight for layer in prepared.plan.layers}
    means = {name: torch.stack([each[name] for each in seen]).mean(0) for name in seen[0]}
    found = dict(sqwa.average().module.named_parameters())
    latents = dict(sqwa.latent_average(refit=False).module.named_parameters())
    for name, mean in means.items():
        torch.testing.assert_close(latents[name], mean)
        if name not in weights and "weight_quantizer" not in name:
            torch.testing.assert_close(found[name], mean)
    assert not torch.equal(means["head.bias"], seen[0]["head.bias"])
    assert not torch.equal(
        means["deployq.activations.stem.scale"], prepared.quantizers()["stem"].scale
    )


def test_the_control_treats_steps_as_the_beginning_did() -> None:
    """Float weights that were trained on steps of their own fit no others."""
    prepared = residual_for("int4-npu")
    for call in linear_calls(prepared):
        call.unit.weight_quantizer.scale.data.mul_(0.25)  # far below what the weights ask for
    pieces = SQWA(prepared)
    pieces.begin(refit=False)
    pieces.capture()
    again = SQWA(prepared)
    again.load_state_dict(saved(pieces.state_dict()))
    learned = {n: u.weight_quantizer.scale.clone() for n, u in prepared.units().items()}
    for control in (pieces.latent_average(), again.latent_average()):
        steps = {n: u.weight_quantizer.scale for n, u in control.units().items()}
        assert all(torch.equal(steps[n], learned[n]) for n in steps)
    fitted = pieces.latent_average(refit=True).units()
    assert not any(torch.equal(fitted[n].weight_quantizer.scale, learned[n]) for n in fitted)


def frozen(prepared: PreparedModel) -> list[str]:
    return sorted(name for name, unit in prepared.units().items() if unit.frozen_statistics)


def test_begin_freezes_what_would_move_codes_against_their_step() -> None:
    prepared = residual_for("lowbit-vlsi", TERNARY)
    learn_scales(prepared)
    optimizer = torch.optim.SGD(prepared.module.parameters(), 0.1, momentum=0.9)
    prepared.module.train()(images()).square().sum().backward()
    sqwa = SQWA(prepared)
    sqwa.begin()
    optimizer.step()
    assert sqwa.capture().code_change_fraction is None
    assert frozen(prepared) == ["depth", "stem", "wide"]
    optimizer.zero_grad()
    prepared.module(images()).square().sum().backward()
    optimizer.step()
    info = sqwa.capture()
    assert info.index == 1 and info.code_change_fraction is not None
    assert 0 < info.code_change_fraction < 1


def test_steps_that_were_learned_are_kept_and_rest() -> None:
    prepared = residual_for("lowbit-vlsi", TERNARY)
    learn_scales(prepared)
    with torch.no_grad():
        for unit in prepared.units().values():
            unit.weight_quantizer.scale.mul_(1.125)
    before = state(prepared.module)
    SQWA(prepared).begin(refit=False)
    assert same(state(prepared.module), before) and frozen(prepared) == ["depth", "stem", "wide"]
    assert not any(u.weight_quantizer.scale.requires_grad for u in prepared.units().values())


def test_changed_codes_are_counted() -> None:
    prepared = calibrated(Net(lambda m, x: m.conv(x), conv=conv(3, 4)), "lowbit-vlsi", TERNARY)
    sqwa, (codes,) = captured(prepared, 1)
    assert sqwa.capture().code_change_fraction == 0.0
    with torch.no_grad():
        prepared.module.get_parameter("conv.weight")[0] *= -1
    changed = (codes["conv"][0] != 0).sum() / codes["conv"].numel()
    assert sqwa.capture().code_change_fraction == pytest.approx(float(changed))
    sqwa.begin()
    assert sqwa.captures == 0 and sqwa.capture().index == 0


def test_a_step_that_moved_is_refused_and_nothing_is_counted() -> None:
    prepared = residual_for("int4-npu")
    sqwa, codes = captured(prepared, 1)
    with torch.no_grad():
        prepared.units()["wide"].weight_quantizer.scale[3] *= 1.5
    with pytest.raises(InputError, match=r"wide\.weight: .*\n  found: 1 of 8 steps moved"):
        sqwa.capture()
    assert sqwa.captures == 1
    found = codes_of(sqwa.average())
    assert all(torch.equal(found[name], codes[0][name]) for name in found)


def test_the_order_of_the_pieces_is_kept() -> None:
    sqwa = SQWA(residual_for("int4-npu"))
    for piece in (sqwa.capture, sqwa.average, sqwa.latent_average):
        with pytest.raises(InputError, match=r"SQWA: .*\n.*\n  next: call begin\(\) first"):
            piece()
    sqwa.begin()
    with pytest.raises(InputError, match=r"SQWA: .*\n.*\n  next: call capture\(\) first"):
        sqwa.average()


def test_other_parameters_are_refused() -> None:
    prepared = residual_for("int4-npu")
    sqwa, _ = captured(prepared, 1)
    prepared.module.register_parameter("extra", nn.Parameter(torch.zeros(1)))
    with pytest.raises(InputError, match=r"parameters of the model: .*\n  found: \['extra'\]"):
        sqwa.capture()


def test_an_average_of_other_layers_is_refused() -> None:
    sqwa, _ = captured(residual_for("int4-npu"), 1)
    other, _ = captured(calibrated(plain_net(), "int4-npu"), 1)
    with pytest.raises(InputError, match=r"averaged model: .*\n  found: \['conv', 'fc'\]"):
        sqwa.requantize(other.average())


def test_weights_that_are_not_finite_are_refused() -> None:
    prepared = residual_for("int4-npu")
    prepared.module.get_parameter("wide.weight").data[0, 0] = float("nan")
    before = prepared.units()["stem"].weight_quantizer.scale.clone()
    with pytest.raises(InputError, match=r"wide: weight: .*\n  found: 9 of 288"):
        SQWA(prepared).begin()
    assert torch.equal(prepared.units()["stem"].weight_quantizer.scale, before)


def test_a_network_without_weights_is_refused() -> None:
    prepared = calibrated(Net(lambda m, x: F.relu(x) + x), "int8-npu")
    with pytest.raises(InputError, match=r"model: .*\n  found: no layer with quantized weights"):
        SQWA(prepared)


def test_a_shared_weight_has_one_average() -> None:
    twice = Net(lambda m, x: m.conv(F.relu(m.conv(x))), conv=conv(3, 3))
    sqwa, codes = captured(calibrated(twice, "int4-npu"), 3)
    found = codes_of(sqwa.average())
    assert len(found) == 2
    for name, code in found.items():
        assert torch.equal(code, sum(each[name] for each in codes))


def test_a_weight_shared_behind_two_batch_norms_is_refused() -> None:
    model = Net(
        lambda m, x: m.two(m.conv(m.one(m.conv(x)))),
        conv=conv(3, 3), one=nn.BatchNorm2d(3), two=nn.BatchNorm2d(3),
    )  # fmt: skip
    with pytest.raises(UnsupportedError, match=r"conv, conv.*: layers that share a weight"):
        SQWA(calibrated(model.eval(), "int4-npu"))


def test_settling_comes_before_freezing() -> None:
    """A lattice of the target: powers of two here."""

    def settle(prepared: PreparedModel) -> None:
        for unit in prepared.units().values():
            scale = unit.weight_quantizer.scale
            scale.data.copy_(scale.log2().round().exp2())

    prepared = residual_for("int4-npu")
    sqwa = SQWA(prepared, settle=settle)
    sqwa.begin()
    sqwa.capture()
    found = sqwa.requantize(sqwa.average())
    for unit in (*prepared.units().values(), *found.units().values()):
        exponents = unit.weight_quantizer.scale.log2()
        assert torch.equal(exponents, exponents.round())
        assert not unit.weight_quantizer.scale.requires_grad


def saved(state: dict[str, Any]) -> dict[str, Any]:
    """Through a file, with nothing unpickled."""
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


def test_a_run_resumes_between_captures() -> None:
    straight = residual_for("lowbit-vlsi", TERNARY)
    sqwa, _ = captured(straight, 2)
    state = saved({"model": straight.module.state_dict(), "sqwa": sqwa.state_dict()})
    resumed = residual_for("lowbit-vlsi", TERNARY)
    resumed.module.load_state_dict(state["model"])
    other = SQWA(resumed)
    other.load_state_dict(state["sqwa"])
    found = []
    for prepared, pieces in ((straight, sqwa), (resumed, other)):
        for parameter in prepared.module.parameters():
            parameter.requires_grad_(parameter.ndim > 1)
        walk(prepared, 9)
        info = pieces.capture()
        assert info.index == 2
        found.append((info, pieces.average().module.state_dict()))
    assert found[0][0] == found[1][0]
    assert all(torch.equal(t, found[1][1][name]) for name, t in found[0][1].items())
    assert frozen(resumed) == ["depth", "stem", "wide"]


def test_a_state_from_before_the_first_capture_resumes() -> None:
    prepared = residual_for("int4-npu")
    sqwa = SQWA(prepared)
    sqwa.load_state_dict(saved(sqwa.state_dict()))
    sqwa.begin()
    state = saved(sqwa.state_dict())
    again = SQWA(residual_for("int4-npu"))
    again.load_state_dict(state)
    assert again.capture().index == 0


def broken(change: str) -> Any:
    state = captured(residual_for("int4-npu"), 1)[0].state_dict()
    if change == "other target":
        return captured(residual_for("lowbit-vlsi"), 1)[0].state_dict()
    if change == "shape":
        state["layers"]["stem"]["total"] = torch.zeros(2)
    if change == "layer":
        del state["layers"]["stem"]
    if change == "mean":
        state["mean"] = {}
    return {} if change == "nothing" else state


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("other target", r"state of SQWA: layers: .*\n  found: \['depth s4\[-7,7\]'"),
        ("shape", r"state of SQWA: .*\n  found: ValueError: stem: total of shape \(2,\)"),
        ("layer", r"state of SQWA: .*\n  found: KeyError: 'stem'"),
        ("mean", r"state of SQWA: .*\n  found: Error"),
        ("nothing", r"state of SQWA: .*\n  found: KeyError"),
    ],
)
def test_another_state_is_refused_and_changes_nothing(change: str, message: str) -> None:
    prepared = residual_for("ort-cpu" if change == "other target" else "int4-npu")
    before = {name: t.clone() for name, t in prepared.module.state_dict().items()}
    sqwa = SQWA(prepared)
    with pytest.raises(InputError, match=message):
        sqwa.load_state_dict(broken(change))
    assert all(torch.equal(t, before[name]) for name, t in prepared.module.state_dict().items())
    assert sqwa.captures == 0


def test_a_copy_in_the_middle_goes_its_own_way() -> None:
    sqwa, codes = captured(residual_for("lowbit-vlsi", TERNARY), 2)
    twin = copy.deepcopy(sqwa)
    sqwa.capture()
    assert (twin.captures, sqwa.captures) == (2, 3)
    found = codes_of(twin.average())
    assert all(torch.equal(found[n], codes[0][n] + codes[1][n]) for n in found)


def file_codes(prepared: PreparedModel, folder: Path) -> dict[str, np.ndarray]:
    """What the file of an export holds as weight codes, by layer."""
    samples = deployq.Dataset({"x": images().numpy()})
    bundle = deployq.export(prepared, folder, samples)
    stored = onnx.load(bundle.path / "model.onnx").graph.initializer
    arrays = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in stored}
    return {n: arrays[f"{n}.weight.codes"].astype(int) for n in prepared.units()}


@pytest.mark.parametrize("name", ["ternary, folded", "4-bit, absorbed"])
def test_the_file_holds_the_codes_of_the_model(name: str, tmp_path: Path) -> None:
    sqwa, _ = captured(MODELS[name](), 3)
    found = sqwa.requantize(sqwa.average())
    stored = file_codes(found, tmp_path / "bundle")
    for name, codes in codes_of(found).items():
        np.testing.assert_array_equal(stored[name], codes)


def test_seven_ternary_models_deploy_as_one_of_four_bits(tmp_path: Path) -> None:
    sqwa, codes = captured(residual_for("lowbit-vlsi", TERNARY), 7)
    averaged = sqwa.average()
    assert {layer.bits for layer in averaged.plan.layers} == {4}
    deployq.save_prepared(averaged, tmp_path)
    stored = file_codes(deployq.load_prepared(tmp_path), tmp_path / "bundle")
    for name, found in stored.items():
        np.testing.assert_array_equal(found, sum(each[name] for each in codes))


def test_without_grids_the_average_computes_the_mean_weights() -> None:
    """The latent weights of the average are on its grid already."""
    sqwa, _ = captured(residual_for("lowbit-vlsi", TERNARY), 3)
    averaged = sqwa.average()
    for call in linear_calls(averaged):
        seen = call.seen_weight()
        torch.testing.assert_close(call.unit.weight_quantizer(seen), seen)
    disable_quantizers(averaged.module)
    assert averaged.module(images()).isfinite().all()
