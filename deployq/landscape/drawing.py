"""A loss surface measured, and written as a picture with its data beside it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path

from deployq.data import Dataset
from deployq.errors import InputError
from deployq.graph.preparation import PreparedModel
from deployq.landscape.batches import Loss, class_loss
from deployq.landscape.facts import Landscape, Sharpness, SharpnessCurve
from deployq.landscape.grid import GRID, Grid
from deployq.landscape.measuring import SAMPLES, measure_landscape
from deployq.landscape.picture import check_matplotlib, draw_picture
from deployq.whole_file import check_writable, whole_file

SUFFIX = ".png"


def draw_landscape(
    corners: Mapping[str, PreparedModel],
    data: Dataset,
    path: Path,
    *,
    also: Mapping[str, PreparedModel] | None = None,
    norm_data: Dataset | None = None,
    measure_norms: bool = True,
    grid: Grid = GRID,
    samples: int | None = SAMPLES,
    loss: Loss = class_loss,
    sharpness: Mapping[str, Sharpness] | None = None,
    curves: Mapping[str, SharpnessCurve] | None = None,
    progress: Callable[[str], None] = lambda stage: None,
) -> Landscape:
    """Draw the plane through three quantized models, as a PNG, and its data as JSON beside it.

    Args:
        path: of the picture, ``.png``; the data has the suffix ``.json``. Both are written whole
            or not at all, the data last, with the SHA-256 of the picture.
        sharpness, curves: of models by name, to be kept with the data.
        corners, data, also, norm_data, measure_norms, grid, samples, loss, progress: as
            :func:`~deployq.landscape.measuring.measure_landscape` takes them.

    Raises:
        InputError: what that raises, a path that cannot be written, or no matplotlib.
    """
    path = Path(path)
    check_picture_path(path)
    check_matplotlib()
    found = measure_landscape(
        corners, data, also=also, norm_data=norm_data, measure_norms=measure_norms, grid=grid,
        samples=samples, loss=loss, progress=progress,
    )  # fmt: skip
    with whole_file(path.with_suffix(".json"), "data") as text, whole_file(path, "picture") as png:
        draw_picture(found, png)
        digest = hashlib.sha256(png.read_bytes()).hexdigest()
        measured = landscape_facts(found, sharpness or {}, curves or {})
        facts = {**measured, "picture_sha256": digest}
        text.write_text(json.dumps(facts, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    return found


def check_picture_path(path: Path) -> None:
    """Refuse a path that a picture and its data cannot have.

    Raises:
        InputError: another suffix, or a folder that cannot be written.
    """
    if path.suffix.lower() != SUFFIX:
        raise InputError(
            str(path),
            f"a picture is a {SUFFIX} file",
            found=path.suffix or "no suffix",
            next_step=f"name it {path.stem}{SUFFIX}",
        )
    check_writable(path, "picture")
    check_writable(path.with_suffix(".json"), "data")


def landscape_facts(
    landscape: Landscape | None,
    sharpness: Mapping[str, Sharpness],
    curves: Mapping[str, SharpnessCurve],
) -> dict[str, object]:
    """Plain data of what was measured; curves where there are any."""
    facts = {} if landscape is None else landscape.to_json()
    facts["sharpness"] = {name: each.to_json() for name, each in sharpness.items()}
    drawn = {name: each.to_json() for name, each in curves.items()}
    return {**facts, "curves": drawn} if drawn else facts
