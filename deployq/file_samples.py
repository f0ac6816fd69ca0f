"""Samples for a file that is not a prepared model: arrays in the shapes and types it declares."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx

from deployq.columns import Columns
from deployq.data import Dataset, fit_dataset, load_arrays
from deployq.edges import edge_dtypes, edge_notes
from deployq.opened_file import OpenedFile
from deployq.progress import notice
from deployq.qgraph.edges import integer_inputs


def file_samples(opened: OpenedFile, data: Path) -> Dataset:
    """The samples of an ``.npz``, with an array for each input of the file.

    An input that takes codes also takes float32, which is quantized by law 1, and says so.

    Raises:
        InputError, UnsafeFileError: an ``.npz`` that cannot be read, or does not fit the file.
    """
    declared = _declared(opened.model)
    shapes = {value.name: _declared_shape(value) for value in declared}
    dtypes = {value.name: _declared_dtype(value) for value in declared}
    columns, edges = Columns(load_arrays(data)), integer_inputs(opened.graph)
    for note in edge_notes(columns, edges):
        notice(note)
    dtypes |= edge_dtypes(columns, edges)
    return fit_dataset(str(data), columns, list(shapes), shapes, dtypes)


def stated_batch(model: onnx.ModelProto) -> int | None:
    """How many samples a file takes at once; None where it takes any number."""
    first = [value.type.tensor_type.shape.dim[:1] for value in _declared(model)]
    return next((dims[0].dim_value for dims in first if dims and dims[0].dim_value), None)


def _declared(model: onnx.ModelProto) -> list[onnx.ValueInfoProto]:
    constants = {tensor.name for tensor in model.graph.initializer}
    return [value for value in model.graph.input if value.name not in constants]


def _declared_shape(value: onnx.ValueInfoProto) -> list[int | None]:
    dims = value.type.tensor_type.shape.dim
    return [None, *(dim.dim_value or None for dim in list(dims)[1:])]


def _declared_dtype(value: onnx.ValueInfoProto) -> np.dtype[Any]:
    return np.dtype(onnx.helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type))
