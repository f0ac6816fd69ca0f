"""Flags that several commands take, and what they say of preprocessing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from deployq.errors import InputError
from deployq.sources import Preprocessing
from deployq.sources.preprocessing import STATE

DATA = ".npz, folder or .zip of images, or module:callable"

ConfigOption = Annotated[
    Path | None, typer.Option("--config", help="Settings; deployq.toml beside the model if there.")
]
LabelsOption = Annotated[
    Path | None, typer.Option(help="Images: a CSV file with the columns file and label.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of text.")]
FirstBitsOption = Annotated[
    int | None, typer.Option("--first-bits", help="Width of the first layer's weights.")
]
LastBitsOption = Annotated[
    int | None, typer.Option("--last-bits", help="Width of the last layer's weights.")
]
SensitivityOption = Annotated[
    bool,
    typer.Option("--sensitivity", help="Rank layers by what quantizing each alone costs."),
]
ScaleOption = Annotated[
    str | None, typer.Option("--scale", help="Images: a byte x to a number, such as x/127.5-1.")
]
MeanOption = Annotated[
    str | None, typer.Option("--mean", help="Images: taken off after scale: 0.485,0.456,0.406.")
]
StdOption = Annotated[
    str | None,
    typer.Option("--std", help="Images: divides after mean, one number or one a channel."),
]
ResizeOption = Annotated[
    int | None, typer.Option("--resize", help="Images: length of the short side.")
]
CropOption = Annotated[
    str | None, typer.Option("--crop", help="Images: part in the middle: 224, or 224,192.")
]


def stated_preprocessing(
    base: Preprocessing | None,
    scale: str | None,
    mean: str | None,
    std: str | None,
    resize: int | None,
    crop: str | None,
) -> Preprocessing | None:
    """What flags say, on top of ``base``; None where nothing is stated.

    Raises:
        InputError: a flag that is no number, or flags without a scale anywhere.
    """
    flags: dict[str, Any] = {
        "scale": scale,
        "mean": _numbers("--mean", mean),
        "std": _numbers("--std", std),
        "resize": resize,
        "crop": _lengths(crop),
    }
    flags = {name: value for name, value in flags.items() if value is not None}
    if not flags:
        return base
    if base is not None:
        return replace(base, **flags)
    if scale is None:
        raise InputError(
            "--scale",
            "what is done to a byte before mean and std is stated, never guessed",
            found=", ".join(f"--{name}" for name in flags) + " without a scale",
            allowed="x, x/255, x/127.5-1, (x-127)/128 and the like",
            next_step=STATE,
        )
    return Preprocessing(**flags)


def _numbers(flag: str, text: str | None) -> tuple[float, ...] | None:
    if text is None:
        return None
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError as error:
        raise _fault(flag, text, "numbers with commas between them") from error


def _lengths(text: str | None) -> int | tuple[int, int] | None:
    if text is None:
        return None
    parts = text.split(",")
    if not all(part.strip().isdecimal() for part in parts) or len(parts) > 2:
        raise _fault("--crop", text, "one length, or height,width")
    lengths = [int(part) for part in parts]
    return lengths[0] if len(lengths) == 1 else (lengths[0], lengths[1])


def _fault(flag: str, text: str, allowed: str) -> InputError:
    return InputError(
        flag, "a flag has numbers", found=repr(text), allowed=allowed, next_step=f"correct {flag}"
    )
