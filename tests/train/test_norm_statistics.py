"""Running statistics measured anew: of units, of modules, and the means of folded BatchNorms."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim.swa_utils import update_bn
from torch.utils.hooks import RemovableHandle

from deployq.errors import InputError
from deployq.graph.integers import linear_calls
from deployq.graph.preparation import PreparedModel, disable_quantizers
from deployq.graph.recipe import LayerRecipe, Recipe
from deployq.train import reestimate_norms
from tests.graph.networks import Net, calibrated, conv, images, residual, residual_for

BATCHES = [[images(seed=4)], [images(seed=5)]]


def statistics(prepared: PreparedModel) -> dict[str, Tensor]:
    state = prepared.module.state_dict()
    return {name: t.clone() for name, t in state.items() if "running" in name}


def freeze(prepared: PreparedModel) -> None:
    for unit in prepared.units().values():
        unit.frozen_statistics = True


def output_means(prepared: PreparedModel) -> dict[str, Tensor]:
    """Of each layer, over the first batch."""
    means: dict[str, Tensor] = {}

    def keep(name: str) -> RemovableHandle:
        return prepared.units()[name].register_forward_hook(
            lambda unit, args, y: means.update({name: y.mean((0, *range(2, y.ndim)))})
        )

    handles = [keep(name) for name in prepared.units()]
    prepared.module(*BATCHES[0])
    for handle in handles:
        handle.remove()
    return means


def test_units_measure_what_torch_measures_on_the_float_network() -> None:
    model, prepared = residual(), residual_for("int8-npu")
    disable_quantizers(prepared.module)
    reestimate_norms(prepared, BATCHES)
    update_bn([batch[0] for batch in BATCHES], model)
    model.eval()
    torch.testing.assert_close(prepared.module(images()), model(images()))
    assert not torch.allclose(model(images()), residual()(images()), rtol=0.1)


def test_batches_count_by_their_samples() -> None:
    model = Net(lambda m, x: m.norm(m.conv(x)), conv=conv(3, 4), norm=nn.BatchNorm2d(4))
    prepared = calibrated(model.eval(), "int8-npu")
    (call,) = linear_calls(prepared)
    x = images(6)
    reestimate_norms(prepared, lambda: ([part] for part in x.split(4)))
    assert call.norm is not None
    on_grid = prepared.quantizers()["x"](x)
    y = F.conv2d(on_grid, call.unit.weight_quantizer(call.weight), padding=1)
    torch.testing.assert_close(call.norm.mean, y.mean((0, 2, 3)))
    parts = [part.transpose(0, 1).flatten(1).var(1) for part in y.split(4)]
    torch.testing.assert_close(call.norm.variance, (4 * parts[0] + 2 * parts[1]) / 6)


def test_a_folded_mean_is_that_of_the_layers_own_output() -> None:
    """On one batch each layer's output then has the mean beta, layers behind included."""
    prepared = residual_for("lowbit-vlsi")
    before = {call.name: call.unit.weight_quantizer.codes(call.seen_weight())
              for call in linear_calls(prepared)}  # fmt: skip
    variances = {n: t for n, t in statistics(prepared).items() if "var" in n}
    reestimate_norms(prepared, BATCHES[:1])
    assert all(torch.equal(statistics(prepared)[name], t) for name, t in variances.items())
    means: dict[str, Tensor] = {}
    for call in linear_calls(prepared):
        now = call.unit.weight_quantizer.codes(call.seen_weight())
        assert torch.equal(now, before[call.name])
    means = output_means(prepared)
    norms = {call.name: call.norm for call in linear_calls(prepared) if call.norm is not None}
    assert sorted(norms) == ["depth", "stem", "wide"]
    for name, norm in norms.items():
        torch.testing.assert_close(means[name], norm.beta, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("target", ["int8-npu", "lowbit-vlsi"])
def test_frozen_statistics_stay(target: str) -> None:
    """No batch is read; a network is trained around what does not move."""
    prepared = residual_for(target)
    freeze(prepared)
    before = statistics(prepared)
    reestimate_norms(prepared, [])
    assert all(torch.equal(t, before[name]) for name, t in statistics(prepared).items())


def test_folded_means_can_keep_those_of_another_model() -> None:
    """Coarser weights, and each layer's output has the mean that it had."""
    other, prepared = residual_for("lowbit-vlsi", Recipe(8)), residual_for("lowbit-vlsi", Recipe(2))
    freeze(prepared)
    wanted, before = output_means(other), output_means(prepared)
    reestimate_norms(prepared, BATCHES[:1], like=other)
    found = output_means(prepared)
    for name in ("depth", "stem", "wide"):
        assert not torch.allclose(before[name], wanted[name], atol=1e-3)
        torch.testing.assert_close(found[name], wanted[name], atol=1e-5, rtol=1e-5)
    assert not any(unit._forward_hooks for unit in other.units().values())


def test_another_network_has_no_means_to_keep() -> None:
    other = calibrated(Net(lambda m, x: m.conv(x), conv=conv(3, 2)), "lowbit-vlsi")
    with pytest.raises(InputError, match=r"like: .*\n  found: \['conv'\]"):
        reestimate_norms(residual_for("lowbit-vlsi"), BATCHES, like=other)


def test_a_channel_that_is_turned_off_keeps_its_mean() -> None:
    prepared = residual_for("lowbit-vlsi")
    prepared.module.get_parameter("stem_norm.weight").data[1] = 0.0
    before = statistics(prepared)["stem_norm.running_mean"]
    reestimate_norms(prepared, BATCHES)
    after = statistics(prepared)["stem_norm.running_mean"]
    assert after[1] == before[1] and (after != before).tolist() == [True, False, True, True]
    assert after.isfinite().all()


def test_modules_beside_the_units_are_measured_too() -> None:
    """A layer that stays in float has its BatchNorm as a module."""
    keep = Recipe(layers={"wide": LayerRecipe(keep_float=True)})
    prepared = residual_for("ort-cpu", keep)
    norm = prepared.module.get_submodule("wide_norm")
    assert isinstance(norm, nn.BatchNorm2d)
    before = statistics(prepared)
    reestimate_norms(prepared, BATCHES)
    assert all(not torch.equal(t, before[name]) for name, t in statistics(prepared).items())
    assert (norm.momentum, norm.num_batches_tracked.item()) == (0.1, 2)


def test_broken_statistics_leave_no_trace() -> None:
    prepared = residual_for("int8-npu")
    prepared.module.get_buffer("stem_norm.running_mean").fill_(float("nan"))
    reestimate_norms(prepared, BATCHES)
    assert all(t.isfinite().all() for t in statistics(prepared).values())


@pytest.mark.parametrize("target", ["int8-npu", "lowbit-vlsi"])
def test_nothing_else_moves(target: str) -> None:
    prepared = residual_for(target)
    prepared.module.train()
    prepared.units()["wide"].eval()
    state = {n: t.clone() for n, t in prepared.module.state_dict().items() if "running" not in n}
    modes = {name: m.training for name, m in prepared.module.named_modules()}
    reestimate_norms(prepared, BATCHES)
    assert all(torch.equal(prepared.module.state_dict()[name], t) for name, t in state.items())
    assert {name: m.training for name, m in prepared.module.named_modules()} == modes
    assert {unit.momentum for unit in prepared.units().values()} == {0.1}
    assert not any(unit._forward_hooks for unit in prepared.units().values())


def test_without_a_batch_norm_no_batch_is_read() -> None:
    prepared = calibrated(Net(lambda m, x: m.conv(x), conv=conv(3, 2)), "int8-npu")

    def batches() -> Iterator[list[Tensor]]:
        raise AssertionError

    reestimate_norms(prepared, batches)


@pytest.mark.parametrize("target", ["int8-npu", "lowbit-vlsi"])
@pytest.mark.parametrize(
    ("batches", "message"),
    [
        ([], "batches: .*2 samples and more\n  found: no batch"),
        ([[images(4)], [images(1)]], r"batches: .*\n  found: a batch of 1 sample\n  next: drop"),
    ],
    ids=["none", "one sample"],
)
def test_too_little_data_changes_nothing(
    target: str, batches: list[list[Tensor]], message: str
) -> None:
    prepared = residual_for(target)
    before = statistics(prepared)
    with pytest.raises(InputError, match=message):
        reestimate_norms(prepared, batches)
    assert all(torch.equal(t, before[name]) for name, t in statistics(prepared).items())
    assert {unit.momentum for unit in prepared.units().values()} == {0.1}
    assert not any(unit._forward_hooks for unit in prepared.units().values())
