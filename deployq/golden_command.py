"""The command ``deployq golden``: vectors for testbenches, memory images and a program in C."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from deployq import flags
from deployq.progress import progress


def golden(
    source: Annotated[Path, typer.Argument(help="A bundle, or a QDQ or QOperator .onnx file.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the vectors.")],
    target: Annotated[
        str | None,
        typer.Option("--target", "-t", help="Whose arithmetic and memory; a bundle's own."),
    ] = None,
    inputs: Annotated[
        Path | None,
        typer.Option("--input", "-i", help=".npz; a bundle's own samples, else random codes."),
    ] = None,
    samples: Annotated[
        int | None, typer.Option(min=1, help="How many; by default as many as keep files small.")
    ] = None,
    as_json: flags.JsonOption = False,
) -> None:
    """Write what every layer reads, holds and gives, bit for bit, and a C program that checks it.

    Exits 2 where a layer cannot be computed in integers; the message names it.
    """
    from deployq.golden_rendering import golden_facts, print_golden
    from deployq.golden_vectors.exporting import export_golden

    with progress(total=None) as advance:
        made = export_golden(source, output, target, inputs, samples=samples, progress=advance)
    facts = golden_facts(made)
    if as_json:
        print(json.dumps(facts, indent=2, sort_keys=True))
    else:
        print_golden(output, facts)
