"""Sharpness as a picture, with its data beside it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path

from deployq.data import Dataset
from deployq.errors import InputError
from deployq.graph.preparation import PreparedModel
from deployq.landscape.batches import Loss, class_loss
from deployq.landscape.curve import POINTS, measure_curve
from deployq.landscape.curve_picture import draw_curves
from deployq.landscape.drawing import check_picture_path, landscape_facts
from deployq.landscape.facts import Sharpness, SharpnessCurve
from deployq.landscape.measuring import SAMPLES
from deployq.landscape.picture import check_matplotlib
from deployq.landscape.surroundings import DIRECTIONS, RADIUS
from deployq.train.saq import Units
from deployq.whole_file import whole_file


def draw_sharpness(
    models: Mapping[str, PreparedModel],
    data: Dataset,
    path: Path,
    *,
    radius: float = RADIUS,
    points: int = POINTS,
    units: Units = Units.DEVIATION,
    directions: int = DIRECTIONS,
    samples: int | None = SAMPLES,
    loss: Loss = class_loss,
    seed: int = 0,
    sharpness: Mapping[str, Sharpness] | None = None,
    progress: Callable[[str], None] = lambda stage: None,
) -> dict[str, SharpnessCurve]:
    """Draw how the loss rises around quantized models, as a PNG, and its data as JSON beside it.

    Args:
        models: by name, at least one.
        path: of the picture, ``.png``; the data has the suffix ``.json``. Both are written whole
            or not at all, the data last, with the SHA-256 of the picture.
        sharpness: of models by name, to be kept with the data.
        data, radius, points, units, directions, samples, loss, seed, progress: as
            :func:`~deployq.landscape.curve.measure_curve` takes them.

    Raises:
        InputError: what that raises, no model, a path that cannot be written, or no matplotlib.
    """
    path = Path(path)
    check_picture_path(path)
    check_matplotlib()
    _check_some(models)
    found = {
        name: measure_curve(
            prepared, data, radius=radius, points=points, units=units, directions=directions,
            samples=samples, loss=loss, seed=seed, progress=progress,
        )
        for name, prepared in models.items()
    }  # fmt: skip
    save_curves(found, path, sharpness or {})
    return found


def save_curves(
    curves: Mapping[str, SharpnessCurve], path: Path, sharpness: Mapping[str, Sharpness]
) -> None:
    """Write the picture of curves, then their data.

    Raises:
        InputError: the file system refuses, or no matplotlib.
    """
    with whole_file(path.with_suffix(".json"), "data") as text, whole_file(path, "picture") as png:
        draw_curves(curves, png)
        digest = hashlib.sha256(png.read_bytes()).hexdigest()
        facts = {**landscape_facts(None, sharpness, curves), "picture_sha256": digest}
        text.write_text(json.dumps(facts, indent=1, allow_nan=False) + "\n", encoding="utf-8")


def _check_some(models: Mapping[str, PreparedModel]) -> None:
    if not models:
        raise InputError(
            "models",
            "a picture of sharpness shows a model, or several",
            found="none",
            next_step="name one",
        )
