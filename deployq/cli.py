"""The command line: parse, call the public functions, print, exit.

Exit codes (law 10): 0 good, 1 a limit was missed, 2 could not run.
"""

from __future__ import annotations

import json
import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from deployq import __version__
from deployq.errors import DeployqError
from deployq.progress import progress

if TYPE_CHECKING:
    from deployq.data import Dataset

COULD_NOT_RUN = 2

app = typer.Typer(
    no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False,
    help="Export networks to integer inference runtimes, and prove what the file computes.",
)  # fmt: skip

TargetOption = Annotated[
    str, typer.Option("--target", "-t", help="A builtin profile, or the path of a TOML profile.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of text.")]


def main() -> None:
    """Entry point: a user's mistake prints its error and exits 2, without a traceback."""
    try:
        app()
    except DeployqError as error:
        if "--json" in sys.argv:
            print(json.dumps(error.as_dict()))
        print(f"error: {error}", file=sys.stderr)
        sys.exit(COULD_NOT_RUN)
    except Exception:  # a fault of ours must not look like a missed limit
        traceback.print_exc()
        sys.exit(COULD_NOT_RUN)


@app.callback(invoke_without_command=True)
def _root(
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    if version:
        print(__version__)
        raise typer.Exit


@app.command()
def export(
    model: Annotated[
        str,
        typer.Argument(help="A .pt2 file, a prepared model's folder, or package.module:callable."),
    ],
    calib: Annotated[Path, typer.Option(help="Calibration data: .npz, arrays named as inputs.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the bundle.")],
    target: TargetOption,
    weight_bits: Annotated[int | None, typer.Option(help="Width of every weight.")] = None,
    activation_bits: Annotated[int | None, typer.Option(help="Width of every activation.")] = None,
    observer: Annotated[str, typer.Option(help="minmax or mse, for activations.")] = "mse",
    as_json: JsonOption = False,
) -> None:
    """Quantize MODEL for a target, calibrate it and write a bundle.

    A prepared model is exported as it is: its scales, from calibration or training, stand.
    """
    from deployq import pipeline
    from deployq.graph.recipe import Recipe
    from deployq.rendering import bundle_lines

    settings = pipeline.CalibrationSettings(activations=observer)
    with progress(total=2 * _batches_of(calib) + 4) as advance:
        loaded = pipeline.open_model(model, calib)
        recipe = Recipe(weight_bits, activation_bits)
        prepared, data = pipeline.prepare_loaded(loaded, calib, target, recipe)
        if loaded.captured is not None:
            pipeline.calibrate(prepared, data, settings, progress=advance)
        facts = {"calibration": {**vars(settings), "samples": len(data)}}
        bundle = pipeline.export(prepared, output, data, facts=facts, progress=advance)
    if as_json:
        _print_json(
            {"bundle": str(output), "plan": prepared.plan.to_json(), "facts": dict(bundle.facts),
             "files": [file.model_dump() for file in bundle.files]}
        )  # fmt: skip
        return
    print("\n".join([*prepared.plan.lines(), *bundle_lines(output, bundle)]))


def _batches_of(path: Path) -> int:
    """Batches of the data, for the length of the bar; 1 where the file cannot be read yet."""
    from deployq.data import load_arrays
    from deployq.pipeline import BATCH

    arrays = load_arrays(path)
    samples = max((len(array) for array in arrays.values() if array.ndim), default=1)
    return -(-samples // BATCH)


@app.command()
def verify(
    bundle: Annotated[Path, typer.Argument(help="Folder of the bundle.")],
    data: Annotated[Path, typer.Option(help="Data: .npz, arrays named as inputs, y for labels.")],
    min_images: Annotated[int, typer.Option(help="Fewer samples are thin evidence.")] = 64,
    min_codes: Annotated[int, typer.Option(help="Fewer codes are thin evidence.")] = 10_000_000,
    latency_runs: Annotated[int, typer.Option(min=1, help="Timed runs of one sample.")] = 100,
    as_json: JsonOption = False,
) -> None:
    """Hold a bundle's files against its reference: codes, accuracy, latency.

    Exits 1 when a limit was missed or the evidence is too thin to say.
    """
    from deployq import pipeline
    from deployq.rendering import print_report
    from deployq.verifier.report import Limits
    from deployq.verifier.verification import steps_of

    dataset = _dataset_for(bundle, data)
    limits = Limits(min_images, min_codes)
    with progress(steps_of(dataset)) as advance:
        report = pipeline.verify(
            bundle, dataset, limits=limits, latency_runs=latency_runs, progress=advance
        )
    if as_json:
        _print_json(report.to_json())
    else:
        print_report(report)
    raise typer.Exit(report.exit_code)


def _dataset_for(bundle: Path, data: Path) -> Dataset:
    """The data, in the shapes that the bundle's model takes."""
    from deployq import pipeline

    return pipeline.read_dataset(data, pipeline.load_prepared(bundle).inputs)


@app.command()
def simulate(
    source: Annotated[Path, typer.Argument(help="A bundle, or a QDQ or QOperator .onnx file.")],
    inputs: Annotated[Path, typer.Option("--input", "-i", help=".npz, arrays named as inputs.")],
    target: Annotated[
        str | None, typer.Option("--target", "-t", help="Whose arithmetic; a bundle's own.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help=".npz for codes and outputs.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Run a file bit for bit under a target's arithmetic."""
    from deployq import pipeline
    from deployq.data import load_arrays
    from deployq.rendering import simulation_facts, simulation_lines

    arrays = {name: array for name, array in load_arrays(inputs).items() if name != "y"}
    simulation = pipeline.simulate(source, arrays, target)
    if output is not None:
        pipeline.save_simulation(simulation, output)
    if as_json:
        _print_json(simulation_facts(simulation))
    else:
        print("\n".join(simulation_lines(simulation)))


def _print_json(facts: dict[str, Any]) -> None:
    print(json.dumps(facts, indent=2, sort_keys=True))
