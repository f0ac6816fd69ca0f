"""Calibration of a whole model: everything gets its scale, what is pinned stays."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from deployq.errors import InputError
from deployq.graph.batch_norm import BatchNormTensors
from deployq.graph.capture import capture
from deployq.graph.integers import layer_integers, linear_calls
from deployq.graph.preparation import PreparedModel
from deployq_calibration import calibrate_model
from deployq_calibration.observers import OBSERVERS
from deployq_calibration.watch import Findings
from tests.graph.networks import TARGETS, Net, conv, images, prepared_for, residual_graph


def fresh(target: str = "int8-npu") -> PreparedModel:
    return prepared_for(residual_graph(), target)


def scales(prepared: PreparedModel) -> dict[str, Tensor]:
    found = prepared.module.state_dict().items()
    return {n: t.clone() for n, t in found if n.endswith(("scale", "zero_point"))}


@pytest.mark.parametrize("target", TARGETS)
def test_every_scale_is_set_from_data(target: str) -> None:
    prepared = fresh(target)
    calibrate_model(prepared, lambda: [(images(),)], activations="minmax", weights="minmax")
    assert all((t != 1).any() for n, t in scales(prepared).items() if n.endswith("scale"))
    for call in linear_calls(prepared):
        _, *norm = call.rest
        weight = call.unit.scaled_weight(call.weight, BatchNormTensors.of(*norm))
        codes = call.unit.weight_quantizer.codes(weight).flatten(1).abs()
        assert (codes.amax(1) >= call.unit.weight_quantizer.qtype.qmax).all()  # 128 of s8


def test_the_input_range_is_the_datas() -> None:
    prepared, x = fresh(), images().clamp(-1.0, 1.55)
    calibrate_model(prepared, lambda: [(x,)], activations="minmax")
    quantizer = prepared.quantizers()["x"]
    assert quantizer.scale.item() == pytest.approx(0.01) and quantizer.zero_point.item() == -28


def test_order_and_split_of_the_data_do_not_matter() -> None:
    x, found = images(24), []
    for batches in ([x], [x[16:], x[:16]], list(x.flip(0).split(8))):
        data = [(batch,) for batch in batches]
        prepared = fresh("lowbit-vlsi")
        calibrate_model(prepared, data.copy, activations="minmax")
        found.append(scales(prepared))
    for name, tensor in found[0].items():
        # float activations of another batch size are summed in another order: a few 2**-24
        assert all(torch.allclose(tensor, other[name], rtol=1e-5, atol=0) for other in found[1:])


def test_pinned_and_limited_grids_stay_so() -> None:
    def body(m: Any, x: Tensor) -> Tensor:
        return torch.sigmoid(m.b(torch.clamp(m.a(x), 0, 0.01)))

    net = Net(body, a=conv(3, 3), b=conv(3, 2))
    prepared = prepared_for(capture(net, [images(2)]), "int8-npu")
    calibrate_model(prepared, lambda: [(images(),)])
    found = {name: q.qparams() for name, q in prepared.quantizers().items()}
    assert (float(found["sigmoid"].scale), int(found["sigmoid"].zero_point)) == (1 / 256, -128)
    assert float(found["a"].scale) == pytest.approx(0.01 / 255, rel=0.02)  # or a little below
    assert float(found["a"].scale) <= torch.tensor(0.01 / 255).item()
    assert int(found["a"].zero_point) == -128


def test_modes_and_quantizers_are_put_back() -> None:
    prepared = fresh()
    prepared.module.train()
    prepared.units()["stem"].eval()
    before = [m.training for m in prepared.module.modules()]
    calibrate_model(prepared, lambda: [(images(),)])
    assert [m.training for m in prepared.module.modules()] == before
    assert all(q.enabled for q in prepared.quantizers().values())


def test_statistics_of_batch_norms_do_not_move() -> None:
    prepared = fresh()
    prepared.module.train()
    before = prepared.module.get_buffer("stem_norm.running_mean").clone()
    calibrate_model(prepared, lambda: [(images(),)])
    assert torch.equal(prepared.module.get_buffer("stem_norm.running_mean"), before)


def test_one_pass_over_the_data_is_enough_and_every_batch_is_told() -> None:
    passes, told = [], []

    def batches() -> Iterator[tuple[Tensor]]:
        passes.append(1)
        yield from [(images(2),), (images(2),)]

    calibrate_model(fresh(), batches, activations="mse", progress=told.append)
    assert len(passes) == 1 and told == ["calibrate"] * 2


def test_no_data_is_refused() -> None:
    with pytest.raises(InputError, match=r"(?s)at least one batch.*found: none.*next: "):
        calibrate_model(fresh(), lambda: [])


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("observer", OBSERVERS)
def test_values_that_are_not_finite_are_refused_by_name(value: float, observer: str) -> None:
    x = images(2)
    x[0, 0, 0, 0] = value
    with pytest.raises(InputError, match=r"(?s)x: .*found: NaN or infinity.*next: "):
        calibrate_model(fresh(), lambda: [(images(2),), (x,)], activations=observer)


def test_a_tensor_is_named_by_its_own_name_where_several_share_a_grid() -> None:
    def body(m: Any, x: Tensor) -> Tensor:
        return torch.cat([m.a(x), m.b(x) * m.b(x)], 1)

    net = Net(body, a=conv(3, 3), b=conv(3, 3))
    net.b.weight.data *= 1e30  # its square is beyond float32
    prepared = prepared_for(capture(net, [images(2)]), "lowbit-vlsi")
    assert ("a", "mul", "cat") in [grid.tensors for grid in prepared.plan.tensors]
    with pytest.raises(InputError, match=r"^mul: "):
        calibrate_model(prepared, lambda: [(images(2),)])


def test_weights_that_are_not_finite_are_refused_by_name() -> None:
    prepared = fresh()
    prepared.module.get_parameter("depth.weight").data[0] = float("nan")
    with pytest.raises(InputError, match=r"depth.weight: "):
        calibrate_model(prepared, lambda: [(images(),)])


@pytest.mark.parametrize("which", ["activations", "weights"])
def test_an_unknown_method_changes_nothing(which: str) -> None:
    prepared = fresh()
    before = scales(prepared)
    with pytest.raises(InputError, match="the observer must exist"):
        calibrate_model(prepared, lambda: [(images(),)], **{which: "best"})
    assert all(torch.equal(t, before[name]) for name, t in scales(prepared).items())


@pytest.mark.parametrize("observer", OBSERVERS)
def test_activations_that_were_always_zero_are_told(observer: str) -> None:
    net = Net(lambda m, x: m.b(torch.relu(m.a(x))), a=conv(3, 3), b=conv(3, 2))
    net.a.weight.data.zero_()
    prepared = prepared_for(capture(net, [images(2)]), "int8-npu")
    found = calibrate_model(prepared, lambda: [(images(),)], activations=observer)
    assert found == Findings(silent=("a", "b"))
    assert found.lines() == ["constantly zero over the calibration data: a, b"]
    assert all(quantizer.calibrated for quantizer in prepared.quantizers().values())
    found = calibrate_model(fresh(), lambda: [(images(),)], activations=observer)
    assert found.silent == () and Findings().lines() == []


@pytest.mark.parametrize("target", TARGETS)
def test_channels_that_were_always_zero_are_told(target: str) -> None:
    net = Net(lambda m, x: m.b(torch.relu(m.a(x))), a=conv(3, 5), b=conv(5, 2))
    net.a.weight.data[[1, 4]] = 0
    x = images(4)
    x[:2, 2] = 0  # alive in the second batch
    prepared = prepared_for(capture(net, [images(2)]), target)
    found = calibrate_model(prepared, lambda: [(x[:2],), (x[2:],)])
    assert found == Findings(dead={"a": (1, 4)})
    assert found.lines() == ["constantly zero channels over the calibration data: a [1, 4]"]
    assert not layer_integers(prepared)["a"].codes.codes[[1, 4]].any()


def test_outliers_that_were_set_aside_are_told() -> None:
    x = images(128)
    x[0, 0, 0, 0] = 1e5
    found = calibrate_model(fresh(), lambda: [(x,)])
    assert found.set_aside["x"] == 1
    assert any("outliers set aside" in line and "x (1)" in line for line in found.lines())
    assert calibrate_model(fresh(), lambda: [(x,)], activations="minmax").set_aside == {}
