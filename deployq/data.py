"""Datasets for calibration, tuning and verification: model inputs and labels as arrays."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from deployq.column_checks import LABELS, check_columns, refuse_names
from deployq.columns import Columns, LazyColumn
from deployq.errors import InputError
from deployq.npz import load_arrays

__all__ = ["Dataset", "check_dataset", "fit_dataset", "load_arrays", "load_dataset"]


@dataclass(frozen=True, eq=False)
class Dataset:
    """N samples: arrays named after the model's inputs, each [N, ...], and labels.

    Args:
        inputs: at least one array; all have the same, positive first dimension. Those that
            :func:`deployq.sources.open_dataset` reads from images are made when they are read.
        labels: class numbers, integer [N] from 0 on; token ids, integer [N, T] with T >= 2, where
            those below 0 do not count; or None.

    Raises:
        InputError: no samples, unequal lengths, or labels that are neither.
    """

    inputs: Mapping[str, np.ndarray]
    labels: np.ndarray | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "inputs", Columns(self.inputs))
        arrays = self.columns | ({} if self.labels is None else {"labels": self.labels})
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
        if self.labels is not None:
            _check_labels(self.labels)

    @property
    def columns(self) -> dict[str, np.ndarray | LazyColumn]:
        """The inputs with their shapes and types, none of them made."""
        return Columns(self.inputs).stored()

    def __len__(self) -> int:
        return next(iter(self.columns.values())).shape[0]

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
        parts = (self._rows(start, start + size) for start in range(0, len(self), size))
        return (Dataset(Columns(part.inputs).made(), part.labels) for part in parts)

    def _rows(self, start: int, stop: int) -> Dataset:
        inputs = Columns(self.inputs).rows(start, stop)
        return Dataset(inputs, None if self.labels is None else self.labels[start:stop])


def _check_labels(labels: np.ndarray) -> None:
    sequences = labels.ndim == 2 and labels.shape[1] > 1
    if labels.dtype.kind not in "iu" or not (labels.ndim == 1 or sequences):
        raise InputError(
            "labels",
            "labels are class numbers, one integer per sample, or sequences of token ids",
            found=f"{labels.dtype} {labels.shape}",
            allowed=f"integer ({len(labels)},), or ({len(labels)}, T) with T >= 2",
            next_step="save labels.astype(numpy.int64)",
        )
    if labels.ndim == 1 and labels.min() < 0:
        raise InputError(
            "labels",
            "labels are class numbers, counted from 0",
            found=str(labels.min()),
            allowed="0 and above",
            next_step="leave the samples without a class out",
        )


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
    return fit_dataset(str(path), load_arrays(path), input_names, input_shapes, input_dtypes)


def fit_dataset(
    where: str,
    arrays: Mapping[str, np.ndarray],
    input_names: Sequence[str],
    input_shapes: Mapping[str, Sequence[int | None]] | None = None,
    input_dtypes: Mapping[str, np.dtype] | None = None,
) -> Dataset:
    """The dataset that a model takes, of arrays from anywhere; as :func:`load_dataset`."""
    columns = Columns(arrays).stored()
    if len(input_names) == 1 and input_names[0] not in columns and "x" in columns:
        columns[input_names[0]] = columns.pop("x")
    labels = None if LABELS in input_names else columns.pop(LABELS, None)
    if set(columns) != set(input_names):
        refuse_names(where, columns, input_names)
    check_columns(columns, input_names, f"{where}: ", input_shapes or {}, input_dtypes or {})
    made = labels.array() if isinstance(labels, LazyColumn) else labels
    return Dataset(Columns({name: columns[name] for name in input_names}), made)


def check_dataset(
    inputs: Mapping[str, tuple[int, ...]],
    data: Dataset,
    input_dtypes: Mapping[str, np.dtype] | None = None,
) -> None:
    """Check that ``data`` is what a model takes: arrays of its names, types and shapes.

    Args:
        inputs: the model's inputs and their shapes; the first dimension, the batch, is free.
        data: from anywhere, not only from :func:`load_dataset`.
        input_dtypes: per input; float32 where it is not named.

    Raises:
        InputError: missing or extra arrays, another type or another shape.
    """
    if set(data.inputs) != set(inputs):
        refuse_names("dataset", data.columns, list(inputs))
    check_columns(data.columns, list(inputs), "", inputs, input_dtypes or {})
