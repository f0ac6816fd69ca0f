"""Open what ``simulate``, ``inspect`` and ``diff`` take: a bundle, or a bare ONNX file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from deployq.bundle import CANONICAL_FILE, read_bundle
from deployq.graph.onnx_guard import load_onnx
from deployq.graph.preparation import PreparedModel
from deployq.graph.prepared_files import load_prepared_model
from deployq.qgraph import IntegerGraph, read_graph
from deployq.qgraph.edges import with_ranges
from deployq.qparams import QParams
from deployq_targets import TargetProfile


@dataclass(frozen=True, eq=False)
class OpenedFile:
    """An ONNX file and what it says; of a bundle also its profile and its tensors' grids."""

    model: onnx.ModelProto
    graph: IntegerGraph
    profile: TargetProfile | None = None
    grids: Mapping[str, QParams] = field(default_factory=dict)

    def rewritten(self, model: onnx.ModelProto) -> OpenedFile:
        """The same network in another file."""
        joins = self.profile is not None and self.profile.graph.joins_sums
        graph = with_ranges(read_graph(model, joins_sums=joins), self.grids)
        return OpenedFile(model, graph, self.profile, self.grids)

    @property
    def declared(self) -> list[onnx.ValueInfoProto]:
        """Its inputs, without those that are constants."""
        constants = {tensor.name for tensor in self.model.graph.initializer}
        return [value for value in self.model.graph.input if value.name not in constants]

    def input_shapes(self) -> dict[str, list[int | None]]:
        """By input; None is a free dimension, as the first one always is."""
        return {value.name: [None, *_sizes(value)[1:]] for value in self.declared}

    def input_dtypes(self) -> dict[str, np.dtype[Any]]:
        """By input, as the file declares them."""
        return {value.name: _dtype(value) for value in self.declared}

    @property
    def fixed_batch(self) -> int | None:
        """Samples that the file takes at a time; None where it takes any number."""
        sizes = [_sizes(value) for value in self.declared]
        return next((size[0] for size in sizes if size and size[0]), None)


def _sizes(value: onnx.ValueInfoProto) -> list[int | None]:
    return [dim.dim_value or None for dim in value.type.tensor_type.shape.dim]


def _dtype(value: onnx.ValueInfoProto) -> np.dtype[Any]:
    return np.dtype(onnx.helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type))


def open_model(source: Path, name: str = CANONICAL_FILE) -> onnx.ModelProto:
    """A file of a bundle, the canonical one, or a bare ONNX file, whatever is in it.

    Raises:
        InputError: nothing there that can be read.
        UnsafeFileError: external data outside the file's folder.
    """
    if not source.is_dir():
        return load_onnx(source)
    read_bundle(source)
    return load_onnx(source / name)


def open_memory(model: onnx.ModelProto, target: TargetProfile | None = None) -> OpenedFile:
    """A model in memory, as a target reads it."""
    joins = target is not None and target.graph.joins_sums
    return OpenedFile(model, read_graph(model, joins_sums=joins))


def open_file(
    source: Path, name: str = CANONICAL_FILE, target: TargetProfile | None = None
) -> OpenedFile:
    """A file and the profile of a bundle, or a bare ONNX file.

    Args:
        source: folder of the bundle, or the file.
        name: of the file in a bundle; the canonical one.
        target: who reads a bare file, if that is known; a bundle is read as it was written.

    Raises:
        InputError: nothing there that can be read.
        UnsafeFileError: external data outside the file's folder.
        UnsupportedError: a node has no integer form.
    """
    model = open_model(source, name)
    if not source.is_dir():
        return open_memory(model, target)
    return open_prepared(model, load_prepared_model(source))


def open_prepared(model: onnx.ModelProto, prepared: PreparedModel) -> OpenedFile:
    """A file that a prepared model was lowered to."""
    profile, grids = prepared.profile, prepared.grids()
    graph = read_graph(model, joins_sums=profile.graph.joins_sums)
    return OpenedFile(model, with_ranges(graph, grids), profile, grids)
