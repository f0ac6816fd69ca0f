"""Samples for a file that is not a prepared model: arrays in the shapes and types it declares."""

from __future__ import annotations

from pathlib import Path

from deployq.columns import Columns
from deployq.data import Dataset, fit_dataset, load_arrays
from deployq.edges import edge_dtypes, edge_notes
from deployq.opened_file import OpenedFile
from deployq.progress import notice
from deployq.qgraph.edges import integer_inputs
from deployq.sources import DataRequest, open_samples


def file_samples(opened: OpenedFile, data: Path | DataRequest) -> Dataset:
    """The samples of an ``.npz``, or of any data, with an array for each input of the file.

    An input that takes codes also takes float32, which is quantized by law 1, and says so.

    Raises:
        InputError, UnsafeFileError: data that cannot be read, or does not fit the file.
    """
    shapes, edges = opened.input_shapes(), integer_inputs(opened.graph)
    if isinstance(data, DataRequest):
        where, columns = data.reference, open_samples(data).columns
    else:
        where, columns = str(data), Columns(load_arrays(data))
    for note in edge_notes(columns, edges):
        notice(note)
    dtypes = opened.input_dtypes() | edge_dtypes(columns, edges)
    return fit_dataset(where, columns, list(shapes), shapes, dtypes)
