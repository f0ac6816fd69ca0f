"""Open data by what the user named, before or after the model's inputs are known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from deployq.columns import Columns, LazyColumn
from deployq.data import Dataset, fit_dataset, load_arrays
from deployq.errors import InputError
from deployq.progress import Advance
from deployq.sources.image_set import image_column, read_images
from deployq.sources.images import bring_to_size
from deployq.sources.preprocessing import CHANNELS, Preprocessing
from deployq.sources.user_data import read_user_data
from deployq.user_code import names_code


@dataclass(frozen=True)
class DataRequest:
    """What the user said of a set of data.

    Args:
        reference: an ``.npz``, a folder or ``.zip`` of images, or ``package.module:callable``.
        preprocessing: of images, in files or in arrays of bytes.
        labels: a labels file, for images.
    """

    reference: str
    preprocessing: Preprocessing | None = None
    labels: Path | None = None


@dataclass(frozen=True, eq=False)
class Samples:
    """Opened data whose arrays still have the names that the user gave.

    Args:
        where: what errors call it.
        columns: by name; ``y`` are the labels, ``x`` the input of a model with one.
    """

    where: str
    columns: Columns

    def dataset(
        self,
        input_shapes: Mapping[str, Sequence[int | None]],
        input_dtypes: Mapping[str, np.dtype] | None = None,
    ) -> Dataset:
        """The samples as a model takes them; see :func:`open_dataset`."""
        names = list(input_shapes)
        return fit_dataset(self.where, self.columns, names, input_shapes, input_dtypes)


def open_dataset(
    reference: str,
    input_shapes: Mapping[str, Sequence[int | None]],
    *,
    input_dtypes: Mapping[str, np.dtype] | None = None,
    preprocessing: Preprocessing | None = None,
    labels: Path | None = None,
    progress: Advance = lambda stage: None,
) -> Dataset:
    """Read data from wherever it lies, as a model takes it.

    Args:
        reference: an ``.npz`` with an array for each input and ``y``; a folder or ``.zip`` of
            images; or ``package.module:callable``, which runs the user's code.
        input_shapes: the model's inputs, None for a free dimension; the first is the batch.
        input_dtypes: per input; float32 where it is not named.
        preprocessing: of images; also of arrays that are uint8 (N, H, W, C).
        labels: a CSV file with the columns file and label, for images.
        progress: told after each image.

    Raises:
        InputError: data that cannot be read or that the model does not take.
        UnsafeFileError: a file that could run code or leave its folder.
    """
    request = DataRequest(reference, preprocessing, labels)
    return open_samples(request, progress).dataset(input_shapes, input_dtypes)


def open_samples(request: DataRequest, progress: Advance = lambda stage: None) -> Samples:
    """Open data of a model whose inputs are not known yet; see :func:`open_dataset`."""
    path, preprocessing = Path(request.reference), request.preprocessing
    images = path.is_dir() or path.suffix.lower() == ".zip"
    if request.labels is not None and not images:
        raise InputError(
            "--labels",
            "a labels file is for images",
            found=request.reference,
            allowed="a folder or .zip of images",
            next_step="save the labels as the array y beside the inputs",
        )
    if images:
        columns = read_images(path, preprocessing, request.labels, progress)
    elif path.suffix.lower() == ".npz":
        columns = Columns(load_arrays(path, skip_text=True))
    elif names_code(request.reference):
        columns = read_user_data(request.reference)
    else:
        raise InputError(
            request.reference,
            "data is an .npz, a folder or .zip of images, or package.module:callable",
            found=f"a {path.suffix or 'plain'} file" if path.exists() else "No such file",
            next_step="check the path, or save the arrays with numpy.savez",
        )
    if preprocessing is not None:
        columns = _preprocessed(request.reference, columns, preprocessing)
    return Samples(request.reference, columns)


def _preprocessed(where: str, columns: Columns, preprocessing: Preprocessing) -> Columns:
    """Arrays of image bytes become lazy columns; others are the model's input already."""
    made: dict[str, np.ndarray | LazyColumn] = {}
    for name, column in columns.stored().items():
        pixels = _pixels(column, preprocessing)
        if pixels is not None:
            same = [bring_to_size(f"{where}: {name}", image, preprocessing) for image in pixels]
            column = image_column(np.stack(same), preprocessing)
        made[name] = column
    return Columns(made)


def _pixels(column: np.ndarray | LazyColumn, preprocessing: Preprocessing) -> np.ndarray | None:
    """uint8 (N, H, W, C), or (N, H, W) of gray images; None for anything else."""
    if isinstance(column, LazyColumn) or column.dtype != np.uint8 or not len(column.shape):
        return None
    count = CHANNELS[preprocessing.channels]
    if count == 1 and column.ndim == 3:
        column = column[..., None]
    fits = column.ndim == 4 and column.shape[-1] == count and len(column) > 0
    return column if fits else None
