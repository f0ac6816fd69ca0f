"""The command ``deployq landscape``: the loss surface around quantized models."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from deployq import flags
from deployq.errors import InputError
from deployq.progress import progress

CORNERS = 3


def landscape(
    models: Annotated[
        list[Path], typer.Argument(help="Prepared models or bundles; three span a plane.")
    ],
    data: Annotated[str | None, typer.Option(help=f"Data with labels: {flags.DATA}.")] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help=".png of the plane or sharpness; .json beside it."),
    ] = None,
    also: Annotated[
        list[Path] | None, typer.Option(help="A further model, projected onto the plane.")
    ] = None,
    norm_data: Annotated[
        str | None, typer.Option(help="Training data, for BatchNorm statistics; --data if none.")
    ] = None,
    keep_norms: Annotated[
        bool, typer.Option("--keep-norms", help="Combine BatchNorm statistics, measure none.")
    ] = False,
    grid: Annotated[int, typer.Option(min=2, help="Places each way.")] = 21,
    margin: Annotated[float, typer.Option(min=0, help="Around the triangle, in its sides.")] = 0.2,
    samples: Annotated[int, typer.Option(min=1, help="The first so many of the data.")] = 512,
    quantized: Annotated[
        bool | None,
        typer.Option("--quantized/--raw", help="One plane alone: on the grid again, or as it is."),
    ] = None,
    sharpness: Annotated[
        bool,
        typer.Option(
            "--sharpness",
            help="Curvature, and rises along directions, by model; with -o their curves, in "
            ".sharpness.png beside a plane.",
        ),
    ] = False,
    radius: Annotated[
        float, typer.Option(help="Of the rises, in deviations of each layer's weight.")
    ] = 0.3,
    directions: Annotated[int, typer.Option(min=1, help="How many random ones.")] = 10,
    labels: flags.LabelsOption = None,
    config: flags.ConfigOption = None,
    scale: flags.ScaleOption = None,
    mean: flags.MeanOption = None,
    std: flags.StdOption = None,
    resize: flags.ResizeOption = None,
    crop: flags.CropOption = None,
    as_json: flags.JsonOption = False,
) -> None:
    """Draw the plane through three quantized models, and how sharp the minima of models are."""
    from deployq.landscape.curve import measure_curve
    from deployq.landscape.drawing import draw_landscape, landscape_facts
    from deployq.landscape.facts import PlaneKind
    from deployq.landscape.grid import BOTH, Grid
    from deployq.landscape.sharpness import measure_sharpness
    from deployq.landscape.sharpness_drawing import save_curves
    from deployq.landscape_inputs import Pictures, model_preprocessing, open_data, open_models
    from deployq.landscape_rendering import print_landscape, print_sharpness
    from deployq.settings import find_settings

    _check_wish(models, also or [], output, sharpness=sharpness)
    pictures = Pictures.wished(output, plane=len(models) == CORNERS, sharpness=sharpness)
    pictures.check()
    opened = open_models([*models, *(also or [])])
    file = find_settings(str(models[0]), config)
    base = file.preprocessing or model_preprocessing(models[0])
    images = flags.stated_preprocessing(base, scale, mean, std, resize, crop)
    labels = labels or (None if file.labels is None else Path(file.labels))
    first = next(iter(opened.values()))
    given = open_data(first, file.require("data", data), norm_data, images, labels)
    found, curves, drawn = {}, {}, None
    with progress(total=None) as advance:
        for name, prepared in opened.items() if sharpness else ():
            found[name] = measure_sharpness(
                prepared, given.data, radius=radius, directions=directions, samples=samples,
                progress=advance,
            )  # fmt: skip
            if pictures.sharpness is not None:
                curves[name] = measure_curve(
                    prepared, given.data, radius=radius, directions=directions, samples=samples,
                    progress=advance,
                )  # fmt: skip
    if pictures.plane is not None:
        kinds = BOTH if quantized is None else [PlaneKind.QUANTIZED if quantized else PlaneKind.RAW]
        places, named = Grid(grid, margin, kinds), list(opened.items())
        with progress(places.steps(len(opened))) as advance:
            drawn = draw_landscape(
                dict(named[:CORNERS]), given.data, pictures.plane, also=dict(named[CORNERS:]),
                norm_data=given.norm_data, measure_norms=not keep_norms, grid=places,
                samples=samples, sharpness=found, curves=curves, progress=advance,
            )  # fmt: skip
    if pictures.sharpness is not None:
        save_curves(curves, pictures.sharpness, found)
    if as_json:
        print(json.dumps(landscape_facts(drawn, found, curves), indent=2, sort_keys=True))
        return
    if drawn is not None and pictures.plane is not None:
        print_landscape(drawn, pictures.plane)
    if found:
        print_sharpness(found, pictures.sharpness)


def _check_wish(
    models: list[Path], also: list[Path], output: Path | None, *, sharpness: bool
) -> None:
    """A plane has three corners and a path, a picture of sharpness any models and no others beside
    them; without a path, sharpness is what is asked for.

    Raises:
        InputError: anything else.
    """
    if output is None and (also or not sharpness):
        raise InputError(
            "--output", "a picture of a plane has a path", found="none",
            next_step="-o plane.png, or --sharpness without --also",
        )  # fmt: skip
    if output is not None and len(models) != CORNERS and (also or not sharpness):
        raise InputError(
            "models", "a plane goes through three models", found=str(len(models)),
            allowed="3; others with --also",
            next_step="name three models; --sharpness without --also draws any number",
        )  # fmt: skip
