"""The command ``deployq diff``: where two ways to compute a network part, and why."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from deployq import flags
from deployq.progress import progress


def diff(
    sides: Annotated[
        list[str],
        typer.Argument(
            metavar="A B | SOURCE WAY WAY",
            help="A side is reference:BUNDLE, file:SOURCE (ONNX Runtime un-optimised), "
            "deployed:SOURCE (as deployed) or sim:SOURCE; @TARGET behind a reference or a sim "
            "names whose arithmetic. With one SOURCE for both: bundle reference deployed.",
        ),
    ],
    inputs: Annotated[Path, typer.Option("--input", "-i", help=".npz, arrays named as inputs.")],
    layers: Annotated[
        int, typer.Option(min=0, help="How many of the layers that differ are explained.")
    ] = 1,
    as_json: flags.JsonOption = False,
) -> None:
    """Compare the codes of two sides, tensor by tensor, and name the cause of the first difference.

    Exits 1 when codes differ.
    """
    from deployq.data import load_arrays
    from deployq.diff_rendering import print_divergence
    from deployq.divergence import diff as compare
    from deployq.divergence.notation import written_sides

    first, second = written_sides(sides)
    with progress(total=None) as advance:
        found = compare(first, second, load_arrays(inputs), layers=layers, progress=advance)
    if as_json:
        print(json.dumps(found.to_json(), indent=2))
    else:
        print_divergence(found)
    raise typer.Exit(found.exit_code)
