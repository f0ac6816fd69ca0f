"""The command line: parse, call the public functions, print, exit.

Exit codes (law 10): 0 good, 1 a limit was missed, 2 could not run.
"""

from __future__ import annotations

import json
import sys
import traceback
import warnings
from pathlib import Path
from typing import Annotated, Any, TextIO

import typer

from deployq import (
    __version__,
    check_command,
    diff_command,
    flags,
    golden_command,
    landscape_command,
    overflow_command,
    runtimes_command,
    targets_command,
    train_command,
    tune_command,
)
from deployq.errors import DeployqError
from deployq.progress import progress

COULD_NOT_RUN = 2
INTERRUPTED = 130
OUR_WARNINGS = ("constantly zero", "outliers set aside")

app = typer.Typer(
    no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False,
    help="Export networks to integer inference runtimes, and prove what the file computes.",
)  # fmt: skip

app.add_typer(targets_command.app, name="targets")
app.command()(check_command.check)
app.command()(overflow_command.overflow)
app.command()(diff_command.diff)
app.command()(golden_command.golden)
app.command()(train_command.train)
app.command()(tune_command.tune)
app.command()(landscape_command.landscape)
app.command()(runtimes_command.runtimes)

TargetOption = Annotated[
    str | None,
    typer.Option("--target", "-t", help="A builtin profile, or the path of a TOML profile."),
]


def main() -> None:
    """Entry point: a user's mistake prints its error and exits 2, without a traceback."""
    warnings.showwarning = _show_warning
    try:
        app()
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    except DeployqError as error:
        if "--json" in sys.argv:
            print(json.dumps(error.as_dict()))
        print(f"error: {error}", file=sys.stderr)
        sys.exit(COULD_NOT_RUN)
    except Exception:  # a fault of ours must not look like a missed limit
        traceback.print_exc()
        sys.exit(COULD_NOT_RUN)


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """Our own warnings are for the user; those of libraries are not."""
    if category is UserWarning and str(message).startswith(OUR_WARNINGS):
        print(f"warning: {message}", file=sys.stderr)


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
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the bundle.")],
    target: TargetOption = None,
    calib: Annotated[str | None, typer.Option(help=f"Calibration data: {flags.DATA}.")] = None,
    weights: Annotated[
        Path | None, typer.Option(help="Checkpoint for module:callable: .safetensors, .pt.")
    ] = None,
    weight_bits: Annotated[int | None, typer.Option(help="Width of every weight.")] = None,
    activation_bits: Annotated[int | None, typer.Option(help="Width of every activation.")] = None,
    first_bits: flags.FirstBitsOption = None,
    last_bits: flags.LastBitsOption = None,
    observer: Annotated[
        str | None,
        typer.Option(
            help="For activations: minmax, mse (default), percentile[:99.99], entropy, "
            "moving_average[:0.01]."
        ),
    ] = None,
    weight_observer: Annotated[
        str | None, typer.Option(help="minmax, mse (default) or percentile[:99.99].")
    ] = None,
    io: Annotated[
        str | None,
        typer.Option(help="Inputs and outputs of the files: float or integer; the target's."),
    ] = None,
    runtime: Annotated[
        str | None,
        typer.Option(help="Also write the files of these runtimes, with commas, or all."),
    ] = None,
    keep_float: Annotated[
        list[str] | None, typer.Option(help="Layers that stay in float, as a pattern; repeatable.")
    ] = None,
    sensitivity: flags.SensitivityOption = False,
    config: flags.ConfigOption = None,
    scale: flags.ScaleOption = None,
    mean: flags.MeanOption = None,
    std: flags.StdOption = None,
    resize: flags.ResizeOption = None,
    crop: flags.CropOption = None,
    corrections: Annotated[
        str | None,
        typer.Option(
            help="Of smoothing, equalization, factors, rounding, bias, tuning; none; "
            "default factors,rounding,bias,tuning."
        ),
    ] = None,
    iterations: Annotated[
        int | None,
        typer.Option(min=1, help="Steps of learned rounding, for each block, and of tuning."),
    ] = None,
    as_json: flags.JsonOption = False,
) -> None:
    """Quantize MODEL for a target, calibrate it and write a bundle.

    A prepared model is exported as it is: its widths and scales, from calibration or training,
    stand.
    """
    from deployq import jobs
    from deployq.rendering import bundle_lines
    from deployq.sensitivity_rendering import print_sensitivity
    from deployq.settings import find_settings
    from deployq.sources import DataRequest

    file = find_settings(model, config)
    target, calib = file.target_of(model, target), file.require("calib", calib)
    images = flags.stated_preprocessing(file.preprocessing, scale, mean, std, resize, crop)
    recipe = file.recipe(weight_bits, activation_bits, keep_float or [], first_bits, last_bits)
    settings = file.calibration(observer, weight_observer, corrections, iterations)
    weights = weights or (None if file.weights is None else Path(file.weights))
    with progress(total=None) as advance:
        prepared, bundle = jobs.export_model(
            model, DataRequest(calib, images), output, target, recipe, settings, advance, weights,
            io or file.io, runtimes=runtime, sensitivity=sensitivity,
        )  # fmt: skip
    if as_json:
        _print_json(
            {
                "bundle": str(output),
                "plan": prepared.plan.to_json(),
                "facts": dict(bundle.facts),
                "files": [file.model_dump() for file in bundle.files],
            }
        )
    else:
        print("\n".join([*prepared.plan.lines(), *bundle_lines(output, bundle)]))
        if sensitivity:
            print_sensitivity(bundle.facts)


@app.command()
def verify(
    bundle: Annotated[Path, typer.Argument(help="Folder of the bundle.")],
    data: Annotated[str | None, typer.Option(help=f"Data with labels: {flags.DATA}.")] = None,
    metric: Annotated[
        str | None,
        typer.Option(help="top-1, auc, perplexity, output-difference or module:callable."),
    ] = None,
    labels: flags.LabelsOption = None,
    min_images: Annotated[int, typer.Option(min=1, help="Fewer samples are thin.")] = 64,
    min_codes: Annotated[int, typer.Option(min=1, help="Fewer codes are thin.")] = 10_000_000,
    min_distinct: Annotated[
        int, typer.Option(min=1, help="A layer with fewer distinct codes is thin.")
    ] = 32,
    latency_runs: Annotated[int, typer.Option(min=1, help="Timed runs of one sample.")] = 100,
    html: Annotated[Path | None, typer.Option(help="Write the report as one HTML page.")] = None,
    runtime: Annotated[
        str | None,
        typer.Option(help="Run it in these runtimes, with commas, or all; see deployq runtimes."),
    ] = None,
    time_limit: Annotated[
        float, typer.Option(min=1, help="Seconds for each of these runtimes.")
    ] = 600,
    config: flags.ConfigOption = None,
    scale: flags.ScaleOption = None,
    mean: flags.MeanOption = None,
    std: flags.StdOption = None,
    resize: flags.ResizeOption = None,
    crop: flags.CropOption = None,
    as_json: flags.JsonOption = False,
) -> None:
    """Hold a bundle's files against its reference: codes, accuracy, latency.

    With --runtime: each of these runtimes in a process of its own, held to what is known of its
    arithmetic. Exits 1 when a limit was missed or the evidence is too thin to say.
    """
    from deployq import jobs, pipeline
    from deployq.html_report.page import check_page_path, write_page
    from deployq.rendering import print_report
    from deployq.settings import find_settings
    from deployq.sources import DataRequest
    from deployq.verifier.report import Limits
    from deployq.verifier.verification import steps_of

    if html is not None:
        check_page_path(html)
    file = find_settings(str(bundle), config)
    base = file.preprocessing or jobs.exported_preprocessing(bundle)
    images = flags.stated_preprocessing(base, scale, mean, std, resize, crop)
    labels = labels or (None if file.labels is None else Path(file.labels))
    request = DataRequest(file.require("data", data), images, labels)
    if runtime is not None:
        raise typer.Exit(
            runtimes_command.verify_runtimes(
                bundle, request, runtime, metric or file.metric, runs=latency_runs,
                limit_seconds=time_limit, as_json=as_json, html=html,
            )
        )  # fmt: skip
    with progress(total=None) as advance:
        evidence, dataset = jobs.open_for_verification(bundle, request, advance)
    limits = Limits(min_images, min_codes, min_distinct)
    with progress(steps_of(evidence, dataset)) as advance:
        report = pipeline.verify(
            evidence,
            dataset,
            limits=limits,
            latency_runs=latency_runs,
            metric=metric or file.metric,
            progress=advance,
        )
    if html is not None:
        write_page(report, bundle.resolve().name, html)
    if as_json:
        _print_json(report.to_json())
    else:
        print_report(report)
    raise typer.Exit(report.exit_code)


@app.command()
def simulate(
    source: Annotated[Path, typer.Argument(help="A bundle, or a QDQ or QOperator .onnx file.")],
    inputs: Annotated[str, typer.Option("--input", "-i", help=f"Data: {flags.DATA}.")],
    target: Annotated[
        str | None, typer.Option("--target", "-t", help="Whose arithmetic; a bundle's own.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help=".npz for codes and outputs.")
    ] = None,
    sums: Annotated[
        bool, typer.Option("--sums", help="Also the integer accumulators of each layer.")
    ] = False,
    as_json: flags.JsonOption = False,
) -> None:
    """Run a file bit for bit under a target's arithmetic."""
    from deployq import jobs
    from deployq.rendering import simulation_facts, simulation_lines

    simulation = jobs.simulate_file(source, inputs, target, sums=sums)
    if output is not None:
        jobs.save_simulation(simulation, output)
    if as_json:
        _print_json(simulation_facts(simulation))
    else:
        print("\n".join(simulation_lines(simulation)))


@app.command()
def inspect(
    source: Annotated[Path, typer.Argument(help="A bundle, or a QDQ or QOperator .onnx file.")],
    as_json: flags.JsonOption = False,
) -> None:
    """Show what a file holds: types, shapes, scales, ranges, sizes, multiply-accumulates."""
    from deployq import jobs
    from deployq.inspection.tables import print_inspection

    inspection = jobs.inspect_file(source)
    if as_json:
        _print_json(inspection.to_json())
    else:
        print_inspection(inspection)


def _print_json(facts: dict[str, Any]) -> None:
    print(json.dumps(facts, indent=2, sort_keys=True))
