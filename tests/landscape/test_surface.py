"""Losses over a plane: corners, places in between, the two kinds, and who may be on it."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from deployq.data import Dataset
from deployq.errors import InputError
from deployq.graph.integers import linear_calls
from deployq.graph.modes import evaluation_mode
from deployq.graph.preparation import PreparedModel
from deployq.graph.recipe import LayerRecipe, Recipe
from deployq.landscape.batches import class_loss, input_batches, labelled_batches, mean_loss
from deployq.landscape.facts import PlaneKind
from deployq.landscape.grid import Grid
from deployq.landscape.measuring import measure_landscape
from deployq.landscape.plane import Plane
from deployq.landscape.points import combined, point_of
from deployq.landscape.probe import Probe
from deployq.train.norm_statistics import reestimate_norms
from tests.graph.networks import Net, calibrated, residual_for
from tests.landscape.models import apart, base, data, samples, three
from tests.train.loops import same, state

SMALL = Grid(2, 0.1)
FOLDING = "lowbit-vlsi"


def direct(prepared: PreparedModel, seen: Dataset, norms: Dataset | None = None) -> float:
    """The loss of a model as it is, after its statistics were measured."""
    own = replace(prepared, module=copy.deepcopy(prepared.module))
    torch.manual_seed(0)  # of Dropout
    reestimate_norms(own, input_batches(own, norms or seen, None))
    with evaluation_mode(own.module):
        return mean_loss(own.module, labelled_batches("data", own, seen, None), class_loss)


@pytest.mark.parametrize("target", ["int4-npu", FOLDING])
def test_corners_are_the_models_themselves(target: str) -> None:
    models, seen = three(target), data()
    points = [point_of(model) for model in models.values()]
    plane, probe = (
        Plane.through([p.flat() for p in points]),
        Probe(models["first"], samples(models["first"], seen)),
    )
    wanted = [direct(model, seen) for model in models.values()]
    assert len(set(wanted)) == 3
    kinds = {layer.batch_norm for layer in models["first"].plan.layers}
    assert kinds == {"none", "fold" if target == FOLDING else "absorb"}
    for on_grid in (False, True):
        places = [combined(points, plane.shares(*place)) for place in plane.corners]
        found = [probe.losses(place, on_grid=on_grid)["data"] for place in places]
        assert found == wanted
    marks = measure_landscape(models, seen, grid=SMALL).marks
    assert [mark.losses["data"] for mark in marks] == wanted


def test_a_place_of_the_quantized_plane_is_the_quantized_model_there() -> None:
    models, seen = three(only_weights=True), data()
    points = [point_of(model) for model in models.values()]
    probe = Probe(models["first"], samples(models["first"], seen))
    place = combined(points, (0.5, 0.2, 0.3))
    there = replace(models["first"], module=copy.deepcopy(models["first"].module))
    with torch.no_grad():
        for call in linear_calls(there):
            call.weight.copy_(place.weights[call.name])
    assert probe.losses(place, on_grid=True)["data"] == direct(there, seen)
    assert probe.losses(place)["data"] != direct(there, seen)


def test_the_quantized_plane_has_steps_and_the_raw_one_has_none() -> None:
    models = three(only_weights=True)
    points = [point_of(model) for model in models.values()]
    for quantizer in models["first"].quantizers().values():
        quantizer.enabled = False  # it would make steps of its own
    probe = Probe(models["first"], samples(models["first"], data()))
    # shares that put no sum of codes next to a tie
    near = [combined(points, (0.4331 - m, 0.2359, 0.331 + m)) for m in (0.0, 1e-5)]
    left, right = (probe.losses(place, on_grid=True) for place in near)
    assert left == right
    left, right = (probe.losses(place) for place in near)
    assert left != right


def test_norms_are_measured_on_their_own_data() -> None:
    models, seen, norms = three(), data(), data(9, seed=4)
    found = measure_landscape(models, seen, norm_data=norms, grid=SMALL)
    assert found.marks[1].losses == {
        "data": direct(models["second"], seen, norms),
        "norm data": direct(models["second"], norms),
    }
    assert [(s.plane, s.data) for s in found.surfaces] == [
        (plane, name) for plane in PlaneKind for name in ("data", "norm data")
    ]
    assert found.samples == {"data": 12, "norm data": 9, "norms": 9}
    unlabelled = replace(norms, labels=None)
    blind = measure_landscape(models, seen, norm_data=unlabelled, grid=SMALL, samples=5)
    assert blind.samples == {"data": 5, "norms": 5}
    assert {surface.data for surface in blind.surfaces} == {"data"}


def test_statistics_that_are_kept_are_the_models_own() -> None:
    models, seen = three(), data()
    found = measure_landscape(models, seen, measure_norms=False, grid=SMALL)
    batches = labelled_batches("data", models["first"], seen, None)
    for mark, model in zip(found.marks, models.values(), strict=True):
        assert mark.losses["data"] == mean_loss(model.module.eval(), batches, class_loss)
    assert found.samples == {"data": 12, "norms": 0}
    assert mark.losses["data"] != direct(model, seen)


def test_frozen_statistics_are_kept_where_they_are() -> None:
    models, seen = three(), data()
    wanted = measure_landscape(models, seen, measure_norms=False, grid=SMALL)
    frozen = {name: _frozen(model) for name, model in models.items()}
    found = measure_landscape(frozen, seen, grid=SMALL)
    assert {**found.to_json(), "samples": 0} == {**wanted.to_json(), "samples": 0}
    mixed = {**models, "third": frozen["third"]}
    with pytest.raises(InputError, match=r"third: frozen statistics(.|\n)*--keep-norms"):
        measure_landscape(mixed, seen, grid=SMALL)
    assert measure_landscape(mixed, seen, measure_norms=False, grid=SMALL).samples["norms"] == 0


def _frozen(prepared: PreparedModel) -> PreparedModel:
    found = replace(prepared, module=copy.deepcopy(prepared.module))
    for unit in found.units().values():
        unit.frozen_statistics = True
    return found


def test_rows_are_y_and_columns_are_x() -> None:
    models, steps = three(), list[str]()
    grid = Grid(3, 0.0, (PlaneKind.RAW,))
    found = measure_landscape(models, data(), grid=grid, progress=steps.append)
    assert len(steps) == grid.steps(3)
    # without a margin, two corners of the triangle are corners of the grid
    (surface,), (first, second, third) = found.surfaces, found.marks
    assert surface.losses[0, 0] == first.losses["data"]
    assert surface.losses[0, 2] == second.losses["data"]
    assert (found.x[2], found.y[2]) == (second.x, third.y)


def test_others_are_projected_and_measured_as_they_are() -> None:
    models, seen = three(), data()
    points = [point_of(model) for model in models.values()]
    other = apart(base(), 7)
    found = measure_landscape(
        models, seen, grid=SMALL, also={"again": copy.deepcopy(models["third"]), "other": other}
    )
    again, mark = found.marks[3:]
    third = found.marks[2]
    assert (again.x, again.y) == pytest.approx((third.x, third.y))
    assert again.away == pytest.approx(0.0, abs=1e-5) and not again.corner
    assert again.losses == third.losses
    assert mark.losses["data"] == direct(other, seen)
    corners = [(corner.x, corner.y) for corner in found.marks[:3]]
    for point, (x, y) in zip(points, corners, strict=True):
        gap = (point.flat() - point_of(other).flat()).norm()  # Pythagoras
        assert np.hypot(np.hypot(mark.x - x, mark.y - y), mark.away) == pytest.approx(float(gap))


def test_models_stay_as_they_are() -> None:
    models = three()
    before = {name: state(model.module) for name, model in models.items()}
    models["first"].module.train()
    measure_landscape(models, data(), grid=SMALL)
    assert all(same(state(model.module), before[name]) for name, model in models.items())
    assert all(module.training for module in models["first"].module.modules())
    assert not any(m._forward_hooks for m in models["first"].module.modules())


def test_weights_that_are_read_elsewhere_are_coordinates_of_their_own() -> None:
    body = lambda net, x: net.head(x.mean((2, 3))) @ net.head.weight  # noqa: E731
    point = point_of(calibrated(Net(body, head=nn.Linear(3, 5)), "ort-cpu"))
    assert "head.weight" in point.floats and "head" in point.weights
    assert "stem.weight" not in point_of(base()).floats


def changed(change: Callable[[PreparedModel], None]) -> PreparedModel:
    found = apart(base(), 1)
    change(found)
    return found


def other_step(prepared: PreparedModel) -> None:
    with torch.no_grad():
        prepared.units()["wide"].weight_quantizer.scale.mul_(1.25)


def other_zero_point(prepared: PreparedModel) -> None:
    next(iter(prepared.quantizers().values())).zero_point.add_(1)


def not_finite(prepared: PreparedModel) -> None:
    with torch.no_grad():
        prepared.module.get_parameter("head.bias")[0] = float("nan")


def not_calibrated(prepared: PreparedModel) -> None:
    next(iter(prepared.quantizers().values())).calibrated = False


@pytest.mark.parametrize(
    ("second", "text"),
    [
        (lambda: base("int8-npu"), "second: target: models on a plane are prepared alike"),
        (lambda: residual_for("int4-npu", Recipe(weight_bits=8)), "second: stem: .* alike"),
        (lambda: residual_for("int4-npu", Recipe(layers={"wide": LayerRecipe(keep_float=True)})),
         "second: number of layers"),
        (lambda: changed(other_zero_point), r"zero_point: models on a plane are prepared alike"),
        (lambda: changed(other_step), "the step of wide: .* on one grid"),
        (lambda: changed(not_finite), "head.bias: coordinates of a point"),
        (lambda: changed(not_calibrated), "integers need a calibrated scale"),
        (lambda: three()["first"], "not on a line"),
    ],
)  # fmt: skip
def test_models_that_share_no_plane(second: Callable[[], PreparedModel], text: str) -> None:
    models = {**three(), "second": second()}
    with pytest.raises(InputError, match=text):
        measure_landscape(models, data(), grid=SMALL)


def test_the_raw_plane_needs_no_common_steps() -> None:
    models = {**three(), "second": changed(other_step)}
    found = measure_landscape(models, data(), grid=replace(SMALL, planes=[PlaneKind.RAW]))
    assert found.marks[1].losses["data"] == direct(models["second"], data())


def test_other_models_are_of_the_same_network() -> None:
    wide = residual_for("int4-npu", Recipe(weight_bits=8))
    measure_landscape(three(), data(), also={"wide": wide}, grid=SMALL)
    head = calibrated(Net(lambda m, x: m.head(x.mean((2, 3))), head=nn.Linear(3, 5)), "int4-npu")
    with pytest.raises(InputError, match=r"head: .* of one network"):
        measure_landscape(three(), data(), also={"head": head}, grid=SMALL)


@pytest.mark.parametrize(
    ("count", "also", "text"), [(2, {}, "found: 2"), (3, {"first": None}, "found: first twice")]
)
def test_a_plane_has_three_corners(count: int, also: dict[str, PreparedModel], text: str) -> None:
    models = dict(list(three().items())[:count])
    with pytest.raises(InputError, match=text):
        measure_landscape(models, data(), also=also)


@pytest.mark.parametrize(
    ("labels", "text"),
    [(None, "a loss needs labels"), (np.arange(12), "labels .12,. up to 11"),
     (np.ones((12, 3), int), "labels .12, 3. up to 1")],
)  # fmt: skip
def test_labels_that_are_no_classes(labels: np.ndarray | None, text: str) -> None:
    with pytest.raises(InputError, match=text):
        measure_landscape(three(), replace(data(), labels=labels), grid=SMALL)


@pytest.mark.parametrize(
    ("facts", "text"),
    [({"count": 1}, "grid: .* 2 places"), ({"margin": -0.1}, "margin: "),
     ({"margin": float("nan")}, "margin: "), ({"planes": ()}, "planes: ")],
)  # fmt: skip
def test_grids_that_are_none(facts: dict[str, float], text: str) -> None:
    with pytest.raises(InputError, match=text):
        Grid(**facts)  # type: ignore[arg-type] # of any kind
