"""The loss over the plane through three quantized models."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from deployq.data import Dataset
from deployq.errors import InputError
from deployq.graph.preparation import PreparedModel
from deployq.landscape.batches import Loss, class_loss, input_batches, labelled_batches
from deployq.landscape.comparable import (
    check_corner,
    check_network,
    check_statistics,
    check_steps,
)
from deployq.landscape.facts import FloatArray, Landscape, Mark, PlaneKind, Surface
from deployq.landscape.grid import GRID, Grid
from deployq.landscape.plane import Plane
from deployq.landscape.points import Point, combined, point_of
from deployq.landscape.probe import Probe, Samples

DATA, NORM_DATA = "data", "norm data"
SAMPLES = 512
"""Of each set of data, unless more are asked for: every place of the grid sees them all."""

Advance = Callable[[str], None]


def measure_landscape(
    corners: Mapping[str, PreparedModel],
    data: Dataset,
    *,
    also: Mapping[str, PreparedModel] | None = None,
    norm_data: Dataset | None = None,
    measure_norms: bool = True,
    grid: Grid = GRID,
    samples: int | None = SAMPLES,
    loss: Loss = class_loss,
    progress: Advance = lambda stage: None,
) -> Landscape:
    """Losses over the plane through three quantized models, and of further models beside it.

    Points are the quantized weights ``Q(w)`` and every other float parameter; the latter combine
    linearly on both planes. BatchNorm statistics are measured anew at each place and for each
    model; frozen ones combine too. The plane is that of Garipov et al. 2018 (arXiv 1802.10026). The
    abstract of SQWA (arXiv 2002.00343) speaks of the loss surface over quantized weights; how it is
    drawn there could not be read, and quantizing each place again, by the first corner's steps, is
    our choice.

    Models stay as they are.

    Args:
        corners: three models by name, of one plan.
        data: with labels.
        also: models of the same network, projected onto the plane; their weights may have other
            steps and widths.
        norm_data: what BatchNorm statistics are measured on, ``data`` by default; training data.
            Where it has labels, the loss on it is measured too.
        measure_norms: else running statistics combine like parameters, and are those of the models
            themselves there, as with frozen statistics of all units.
        grid: where to look.
        samples: so many of each set of data, the first; None takes all.
        loss: of output and labels, a mean over samples.
        progress: told of each evaluation.

    Raises:
        InputError: not three models, on a line, of several networks, plans or (on the quantized
            plane) grids, not calibrated, or data that does not fit or has no labels.
    """
    _check_names(corners, also or {})
    (name, first), *_ = corners.items()
    points = _checked(corners, grid, measure_norms=measure_norms)
    others = {other: point_of(model) for other, model in (also or {}).items()}
    for other, point in others.items():
        check_network(other, point, points[name])
    plane = Plane.through([point.flat() for point in points.values()])
    seen = _samples(first, data, norm_data, samples, loss)
    if not measure_norms:
        seen = replace(seen, norms=None)
    marks = []
    for model, prepared in {**corners, **(also or {})}.items():
        progress("models")
        losses = Probe(prepared, seen).losses((points | others)[model])
        marks.append(_mark(plane, model, list(corners), others.get(model), losses))
    ticks = plane.ticks(grid.count, grid.margin)
    probe = Probe(first, seen)
    surfaces: list[Surface] = []
    for kind in grid.planes:
        surfaces += _surfaces(probe, kind, plane, list(points.values()), ticks, progress)
    counts = {name: sum(map(len, batches)) for name, batches in seen.labelled.items()}
    counts["norms"] = sum(len(inputs[0]) for inputs in seen.norms or ())
    x, y = ticks[0] * plane.width, ticks[1] * plane.height
    return Landscape(x.tolist(), y.tolist(), tuple(marks), tuple(surfaces), counts)


def _check_names(corners: Iterable[str], also: Iterable[str]) -> None:
    names, others = list(corners), list(also)
    twice = [name for name in others if name in names]
    if len(names) != 3 or twice:
        raise InputError(
            "models",
            "a plane goes through three models, and each model is named once",
            found=f"{twice[0]} twice" if twice else str(len(names)),
            allowed="three corners, and any number of others",
            next_step="name three, and the rest with --also",
        )


def _checked(
    corners: Mapping[str, PreparedModel], grid: Grid, *, measure_norms: bool
) -> dict[str, Point]:
    """Where the corners stand; they are of one network, plan and grid."""
    (_, first), *others = corners.items()
    for name, prepared in others:
        check_corner(name, prepared, first)
        if PlaneKind.QUANTIZED in grid.planes:
            check_steps(name, prepared, first)
        if measure_norms:
            check_statistics(name, prepared, first)
    points = {name: point_of(prepared) for name, prepared in corners.items()}
    base = next(iter(points.values()))
    for name, point in points.items():
        check_network(name, point, base)
    return points


def _samples(
    prepared: PreparedModel, data: Dataset, norm_data: Dataset | None, count: int | None, loss: Loss
) -> Samples:
    sets = {DATA: data}
    if norm_data is not None and norm_data.labels is not None:
        sets[NORM_DATA] = norm_data
    batches = {name: labelled_batches(name, prepared, each, count) for name, each in sets.items()}
    return Samples(batches, input_batches(prepared, norm_data or data, count), loss)


def _mark(
    plane: Plane, name: str, corners: list[str], other: Point | None, losses: dict[str, float]
) -> Mark:
    if other is None:
        (a, b), away = plane.corners[corners.index(name)], 0.0
    else:
        a, b, away = plane.project(other.flat())
    return Mark(name, other is None, a * plane.width, b * plane.height, away, losses)


def _surfaces(
    probe: Probe,
    kind: PlaneKind,
    plane: Plane,
    points: Sequence[Point],
    ticks: tuple[FloatArray, FloatArray],
    progress: Advance,
) -> list[Surface]:
    found: dict[str, FloatArray] = {}
    for column, a in enumerate(ticks[0]):
        for row, b in enumerate(ticks[1]):
            progress(f"{kind} plane")
            place = combined(points, plane.shares(float(a), float(b)))
            losses = probe.losses(place, on_grid=kind is PlaneKind.QUANTIZED)
            for name, loss in losses.items():
                rows = found.setdefault(name, np.empty((len(ticks[1]), len(ticks[0]))))
                rows[row, column] = loss
    return [Surface(kind, name, losses) for name, losses in found.items()]
