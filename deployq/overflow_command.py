"""The command ``deployq overflow``: prove that the sums of a file fit an accumulator."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from deployq import flags


def overflow(
    source: Annotated[Path, typer.Argument(help="A bundle, or a QDQ or QOperator .onnx file.")],
    target: Annotated[
        str | None, typer.Option("--target", "-t", help="Whose accumulator; a bundle's own.")
    ] = None,
    inputs: Annotated[
        Path | None, typer.Option("--input", "-i", help=".npz: also the sums of these samples.")
    ] = None,
    witness: Annotated[
        Path | None, typer.Option(help="Folder for inputs that overflow, one for each channel.")
    ] = None,
    witness_all: Annotated[
        bool, typer.Option(help="Also one for each layer that fits, of its worst channel.")
    ] = False,
    as_json: flags.JsonOption = False,
) -> None:
    """The worst case of every accumulator, from the weights, and whether it fits.

    Exits 1 when a layer does not fit, or is not proven to.
    """
    from deployq.accumulators import prove_accumulators
    from deployq.overflow_rendering import print_proof

    proof = prove_accumulators(source, target, inputs, witnesses=witness, every_layer=witness_all)
    if as_json:
        print(json.dumps(proof.to_json(), indent=2))
    else:
        print_proof(proof)
    raise typer.Exit(int(not proof.fits))
