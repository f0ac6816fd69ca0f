"""Whether arrays are what a model takes: their names, types and shapes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

import numpy as np

from deployq.columns import LazyColumn
from deployq.errors import InputError

LABELS = "y"
"""The array name of the labels, unless the model has an input of that name."""


def check_columns(
    columns: Mapping[str, np.ndarray | LazyColumn],
    names: Sequence[str],
    prefix: str,
    shapes: Mapping[str, Sequence[int | None]],
    dtypes: Mapping[str, np.dtype],
) -> None:
    """Check type (float32 where ``dtypes`` names none) and shape of each column.

    Raises:
        InputError: one that the model does not take.
    """
    for name in names:
        where, column = prefix + name, columns[name]
        check_dtype(where, column.dtype, np.dtype(dtypes.get(name, np.float32)))
        _check_shape(where, column.shape, shapes.get(name))


def refuse_names(where: str, arrays: Mapping[str, Any], wanted: Sequence[str]) -> NoReturn:
    """Raise the InputError for arrays that are not the model's inputs."""
    missing = [name for name in wanted if name not in arrays]
    extra = [name for name in arrays if name not in wanted]
    raise InputError(
        where,
        "the arrays are the model's inputs and y for the labels",
        found=f"{', '.join(arrays) or 'no inputs'} (missing: {', '.join(missing) or 'none'}; "
        f"extra: {', '.join(extra) or 'none'})",
        allowed=f"{', '.join(wanted)}{', or x' if len(wanted) == 1 else ''}; optionally {LABELS}",
        next_step="save the arrays under the names of the model's inputs",
    )


def check_dtype(where: str, found: np.dtype[Any], wanted: np.dtype[Any]) -> None:
    """Check the type of one array.

    Raises:
        InputError: it has another type; the next step says how to mend it.
    """
    if found == wanted:
        return
    if wanted.kind == "f" and found.kind in "biu":
        step = (
            "state [preprocessing] for images in uint8, (N, H, W, C), or scale and normalise as in "
            f"training and save the result as {wanted}"
        )
    else:
        step = f"save array.astype(numpy.{wanted})"
    raise InputError(
        where,
        "an array has the type of the model's input; nothing is cast silently",
        found=str(found),
        allowed=str(wanted),
        next_step=step,
    )


def _check_shape(where: str, found: tuple[int, ...], wanted: Sequence[int | None] | None) -> None:
    if wanted is None:
        return
    free = (None, *wanted[1:])
    fits = len(found) == len(free) and all(
        want in (None, have) for have, want in zip(found, free, strict=True)
    )
    if not fits:
        shown = ", ".join(
            "N" if i == 0 else "any" if d is None else str(d) for i, d in enumerate(free)
        )
        raise InputError(
            where,
            "an array has the shape of the model's input",
            found=str(found),
            allowed=f"({shown})",
            next_step="save samples in the layout that the model takes",
        )
