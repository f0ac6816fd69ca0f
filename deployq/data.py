"""Datasets for calibration, tuning and verification: model inputs and labels as arrays."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import numpy as np

from deployq.errors import InputError
from deployq.npz import load_arrays

__all__ = ["Dataset", "check_dataset", "load_arrays", "load_dataset"]

LABELS = "y"
"""The array name of the labels, unless the model has an input of that name."""


@dataclass(frozen=True, eq=False)
class Dataset:
    """N samples: arrays named after the model's inputs, each [N, ...], and labels.

    Args:
        inputs: at least one array; all have the same, positive first dimension.
        labels: class numbers, integer [N], or None.

    Raises:
        InputError: no samples, unequal lengths, or labels that are not integer [N] from 0 on.
    """

    inputs: Mapping[str, np.ndarray]
    labels: np.ndarray | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "inputs", MappingProxyType(dict(self.inputs)))
        arrays = dict(self.inputs) | ({} if self.labels is None else {"labels": self.labels})
        shapes = ", ".join(f"{name} {array.shape}" for name, array in arrays.items())
        lengths = {array.shape[0] if array.ndim else 0 for array in arrays.values()}
        if not self.inputs or len(lengths) > 1 or 0 in lengths:
            raise InputError(
                "dataset",
                "every array has the same number of samples, at least one",
                found=shapes or "no inputs",
                allowed="first dimension N >= 1, the same for all",
                next_step="save arrays with one row per sample",
            )
        if self.labels is not None and (
            self.labels.ndim != 1 or self.labels.dtype.kind not in "iu"
        ):
            raise InputError(
                "labels",
                "labels are class numbers, one integer per sample",
                found=f"{self.labels.dtype} {self.labels.shape}",
                allowed=f"integer ({lengths.pop()},)",
                next_step="save labels.astype(numpy.int64)",
            )
        if self.labels is not None and self.labels.min() < 0:
            raise InputError(
                "labels",
                "labels are class numbers, counted from 0",
                found=str(self.labels.min()),
                allowed="0 and above",
                next_step="leave the samples without a class out",
            )

    def __len__(self) -> int:
        return int(next(iter(self.inputs.values())).shape[0])

    def take(self, n: int) -> Dataset:
        """The first ``n`` samples, 1 to ``len``.

        Raises:
            InputError: out of that range.
        """
        if not 1 <= n <= len(self):
            raise InputError(
                "dataset",
                "cannot take more samples than there are, nor none",
                found=str(n),
                allowed=f"1..{len(self)}",
                next_step="give more data or ask for fewer samples",
            )
        return self._rows(0, n)

    def batches(self, size: int) -> Iterator[Dataset]:
        """All samples in order, ``size`` at a time; the last batch may be smaller.

        Raises:
            InputError: ``size`` below 1.
        """
        if size < 1:
            raise InputError(
                "batch size",
                "a batch has samples",
                found=str(size),
                allowed=">= 1",
                next_step="ask for 1 or more samples a batch",
            )
        return (self._rows(start, start + size) for start in range(0, len(self), size))

    def _rows(self, start: int, stop: int) -> Dataset:
        inputs = {name: array[start:stop] for name, array in self.inputs.items()}
        return Dataset(inputs, None if self.labels is None else self.labels[start:stop])


def load_dataset(
    path: Path,
    input_names: Sequence[str],
    *,
    input_shapes: Mapping[str, Sequence[int | None]] | None = None,
    input_dtypes: Mapping[str, np.dtype] | None = None,
) -> Dataset:
    """Read an ``.npz`` with an array per model input and, optionally, ``y`` for the labels.

    A model with one input also accepts ``x`` as its name. Nothing is cast or preprocessed.

    Args:
        path: the ``.npz``.
        input_names: the model's inputs.
        input_shapes: per input, its shape with None for a free dimension; the first dimension
            is the batch and always free. Inputs that are not named here may have any shape.
        input_dtypes: per input; float32 where it is not named.

    Raises:
        InputError: what ``load_arrays`` and ``Dataset`` raise; missing or extra arrays; a
            shape or type that contradicts the model's.
        UnsafeFileError: as ``load_arrays``.
    """
    arrays = dict(load_arrays(path))
    if len(input_names) == 1 and input_names[0] not in arrays and "x" in arrays:
        arrays[input_names[0]] = arrays.pop("x")
    labels = None if LABELS in input_names else arrays.pop(LABELS, None)
    if set(arrays) != set(input_names):
        _refuse_names(str(path), arrays, input_names)
    for name in input_names:
        where = f"{path}: {name}"
        check_dtype(where, arrays[name], np.dtype((input_dtypes or {}).get(name, np.float32)))
        _check_shape(where, arrays[name], (input_shapes or {}).get(name))
    return Dataset({name: arrays[name] for name in input_names}, labels)


def check_dataset(inputs: Mapping[str, tuple[int, ...]], data: Dataset) -> None:
    """Check that ``data`` is what a model takes: float32 arrays of its names and shapes.

    Args:
        inputs: the model's inputs and their shapes; the first dimension, the batch, is free.
        data: from anywhere, not only from :func:`load_dataset`.

    Raises:
        InputError: missing or extra arrays, another type or another shape.
    """
    if set(data.inputs) != set(inputs):
        _refuse_names("dataset", data.inputs, list(inputs))
    for name, shape in inputs.items():
        check_dtype(name, data.inputs[name], np.dtype(np.float32))
        _check_shape(name, data.inputs[name], shape)


def _refuse_names(where: str, arrays: Mapping[str, np.ndarray], wanted: Sequence[str]) -> None:
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


def check_dtype(where: str, array: np.ndarray, wanted: np.dtype) -> None:
    """Check the type of one array.

    Raises:
        InputError: it has another type; the next step says how to mend it.
    """
    if array.dtype == wanted:
        return
    if wanted.kind == "f" and array.dtype.kind in "biu":
        step = (
            "deployq does no preprocessing: scale and normalise as in training, then save the "
            f"result as {wanted}"
        )
    else:
        step = f"save array.astype(numpy.{wanted})"
    raise InputError(
        where,
        "an array has the type of the model's input; nothing is cast silently",
        found=str(array.dtype),
        allowed=str(wanted),
        next_step=step,
    )


def _check_shape(where: str, array: np.ndarray, wanted: Sequence[int | None] | None) -> None:
    if wanted is None:
        return
    free = (None, *wanted[1:])
    fits = array.ndim == len(free) and all(
        want in (None, have) for have, want in zip(array.shape, free, strict=True)
    )
    if not fits:
        shown = ", ".join(
            "N" if i == 0 else "any" if d is None else str(d) for i, d in enumerate(free)
        )
        raise InputError(
            where,
            "an array has the shape of the model's input",
            found=str(array.shape),
            allowed=f"({shown})",
            next_step="save samples in the layout that the model takes",
        )
