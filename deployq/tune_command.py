"""The command ``deployq tune``: search the scales of a prepared model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from deployq import flags
from deployq.progress import progress


def tune(
    model: Annotated[Path, typer.Argument(help="A prepared model or a bundle.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the tuned model.")],
    calib: Annotated[str | None, typer.Option(help=f"Calibration data: {flags.DATA}.")] = None,
    teacher: Annotated[
        str | None,
        typer.Option(help="The float network, as export takes it; the one inside if none."),
    ] = None,
    weights: Annotated[
        Path | None, typer.Option(help="Checkpoint of a teacher module:callable.")
    ] = None,
    passes: Annotated[int, typer.Option(help="Over all blocks.")] = 10,
    free_passes: Annotated[
        int | None,
        typer.Option(help="Of any scales, before a lattice is searched; as many if not given."),
    ] = None,
    children: Annotated[int, typer.Option(help="Candidates at each visit of a block.")] = 3,
    population: Annotated[int, typer.Option(help="1 with --tournament 1 climbs.")] = 15,
    tournament: Annotated[int, typer.Option(help="Drawn with replacement.")] = 10,
    width: Annotated[float, typer.Option(help="Half-width of a mutation.")] = 0.05,
    mutation: Annotated[str, typer.Option(help="relative or absolute.")] = "relative",
    order: Annotated[str, typer.Option(help="reverse or forward.")] = "reverse",
    searched: Annotated[str, typer.Option(help="auto, attention, mlp or all.")] = "auto",
    codes: Annotated[str, typer.Option(help="reround, or frozen behind training.")] = "reround",
    activations: Annotated[
        bool, typer.Option("--activations", help="Search the blocks' own activation scales too.")
    ] = False,
    block: Annotated[
        list[str] | None, typer.Option(help="Pattern of layer names that are searched.")
    ] = None,
    fitness: Annotated[
        str, typer.Option(help="infonce, linear_infonce, mse, cosine or kl.")
    ] = "infonce",
    tau: Annotated[float, typer.Option(help="Temperature of infoNCE.")] = 3.0,
    samples: Annotated[int, typer.Option(help="Of the data, at most.")] = 1000,
    batch: Annotated[int, typer.Option(help="Samples that are compared with each other.")] = 100,
    held_back: Annotated[float, typer.Option(help="Share of batches that are held out.")] = 0.2,
    patience: Annotated[
        int,
        typer.Option(help="Passes without a better held-back fitness; the best is kept. 0: none."),
    ] = 0,
    margin: Annotated[
        float, typer.Option(help="Standard errors that a pass must be better by to be kept.")
    ] = 0.0,
    racing: Annotated[
        float | None, typer.Option(help="Drop children that are so many standard errors worse.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of children and the order of samples.")] = 0,
    arithmetic: Annotated[str, typer.Option(help="file, or target: its own arithmetic.")] = "file",
    device: Annotated[str, typer.Option(help="That evaluates candidates: cpu, cuda.")] = "cpu",
    together: Annotated[
        int | None,
        typer.Option(help="Children in one run: 1 on the cpu, else all of a visit, if not given."),
    ] = None,
    checkpoint: Annotated[
        Path | None, typer.Option(help="A file to write, and to go on from if it is there.")
    ] = None,
    labels: flags.LabelsOption = None,
    config: flags.ConfigOption = None,
    scale: flags.ScaleOption = None,
    mean: flags.MeanOption = None,
    std: flags.StdOption = None,
    resize: flags.ResizeOption = None,
    crop: flags.CropOption = None,
    as_json: flags.JsonOption = False,
) -> None:
    """Search the weight scales of MODEL on unlabelled data (Evol-Q); OUTPUT is for export.

    The same seed gives the same scales, on every device where the network is integer. For several
    processes: torchrun --nproc-per-node N -m deployq tune MODEL -o OUTPUT.
    """
    from deployq.landscape_inputs import model_preprocessing
    from deployq.settings import find_settings
    from deployq.tune_job import tune_model
    from deployq.tune_rendering import print_evolved
    from deployq_calibration.evolq.settings import EvolveSettings

    settings = EvolveSettings(
        passes=passes, free_passes=free_passes, children=children,
        population=population, tournament=tournament,
        width=width, mutation=mutation, order=order, searched=searched,
        codes=codes, activations=activations, blocks=tuple(block or ()),
        fitness=fitness, tau=tau, samples=samples, batch=batch, held_back=held_back,
        patience=patience, margin=margin, racing=racing, seed=seed,
        device=device, together=together,
    )  # fmt: skip
    file = find_settings(str(model), config)
    base = file.preprocessing or model_preprocessing(model)
    images = flags.stated_preprocessing(base, scale, mean, std, resize, crop)
    with progress(total=None) as advance:
        evolved = tune_model(
            model, output, file.require("calib", calib), settings,
            teacher=teacher, weights=weights, arithmetic=arithmetic, checkpoint=checkpoint,
            preprocessing=images, labels=labels, progress=advance,
        )  # fmt: skip
    if evolved is None:  # another rank of torchrun says it
        return
    if as_json:
        print(json.dumps(evolved.to_json(), indent=2, sort_keys=True))
    else:
        print_evolved(evolved, output)
