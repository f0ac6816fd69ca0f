"""Open what ``simulate`` and ``inspect`` take: a bundle, or a bare ONNX file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import onnx

from deployq.bundle import read_bundle
from deployq.graph.onnx_guard import load_onnx
from deployq.graph.prepared_files import load_prepared_model
from deployq.qgraph import IntegerGraph, read_graph
from deployq.qgraph.edges import with_ranges
from deployq.verifier.evidence import CANONICAL_FILE
from deployq_targets import TargetProfile


@dataclass(frozen=True, eq=False)
class OpenedFile:
    """An ONNX file, what it says, and the profile of the bundle that it is in, if it is in one."""

    model: onnx.ModelProto
    graph: IntegerGraph
    profile: TargetProfile | None = None


def open_model(source: Path) -> onnx.ModelProto:
    """A bundle's canonical file, or a bare ONNX file, whatever is in it.

    Raises:
        InputError: nothing there that can be read.
        UnsafeFileError: external data outside the file's folder.
    """
    if not source.is_dir():
        return load_onnx(source)
    read_bundle(source)
    return load_onnx(source / CANONICAL_FILE)


def open_file(source: Path) -> OpenedFile:
    """A bundle's canonical file and profile, or a bare ONNX file.

    Raises:
        InputError: nothing there that can be read.
        UnsafeFileError: external data outside the file's folder.
        UnsupportedError: a node has no integer form.
    """
    model = open_model(source)
    if not source.is_dir():
        return OpenedFile(model, read_graph(model))
    prepared = load_prepared_model(source)
    graph = with_ranges(read_graph(model), prepared.grids())
    return OpenedFile(model, graph, prepared.profile)
