"""An opened bundle: prepared model, canonical file and the runtime's file, all read once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnx

from deployq.bundle import read_bundle
from deployq.data import load_arrays
from deployq.errors import InputError
from deployq.graph.onnx_guard import load_onnx
from deployq.graph.prepared_files import load_prepared_model
from deployq.qgraph import IntegerGraph, read_graph
from deployq.qgraph.nodes import Dequantize
from deployq_exporters.dialects import DIALECTS
from deployq_exporters.runtimes.onnxruntime import Session
from deployq_targets import load_profile

CANONICAL_FILE = "model.onnx"
GOLDEN_FILE = "golden.npz"
CODES = ".codes"
"""A code tensor of a file is the reference's tensor of this name without the suffix."""


class Evidence:
    """Everything that a verification reads.

    Raises:
        InputError: no bundle, or one that lacks a file.
    """

    def __init__(self, path: Path) -> None:
        bundle = read_bundle(path)
        dialect = DIALECTS["onnxruntime"]
        present = {file.path for file in bundle.files}
        for name in (CANONICAL_FILE, dialect.file_name, GOLDEN_FILE):
            if name not in present:
                raise InputError(
                    path.name,
                    "the bundle must hold the file to verify",
                    found=f"no {name}",
                    next_step="export again",
                )
        self.prepared = load_prepared_model(path)
        self.canonical: onnx.ModelProto = load_onnx(path / CANONICAL_FILE)
        self.runtime_file: onnx.ModelProto = load_onnx(path / dialect.file_name)
        self.graph = read_graph(self.canonical)
        self.runtime_graph = read_graph(self.runtime_file)
        self.contract = self.prepared.profile.contract()
        self.runtime_contract = load_profile(dialect.contract).contract()
        self.golden = load_arrays(path / GOLDEN_FILE)
        quantizers, grids = self.prepared.quantizers(), self.prepared.plan.tensors
        self.grids = {t: quantizers[grid.name].qparams() for grid in grids for t in grid.tensors}
        """Parameters of every tensor of the reference."""

    def shift(self, graph: IntegerGraph, tensor: str) -> int:
        """What a dialect's container adds to a tensor's codes: the zero points' difference."""
        return int(graph.qparams[tensor + CODES].zero_point) - int(self.grids[tensor].zero_point)

    def runtime_session(self, *, probes: bool) -> Session:
        """The runtime's file as it is deployed."""
        names = _probes(self.runtime_file, self.runtime_graph) if probes else None
        return Session(self.runtime_file, names)

    def float_session(self, *, probes: bool) -> Session:
        """The canonical file, un-optimised."""
        names = _probes(self.canonical, self.graph) if probes else None
        return Session(self.canonical, names, optimised=False)


def _probes(model: onnx.ModelProto, graph: IntegerGraph) -> dict[str, Any]:
    """Every computed code tensor that the file itself has under this name."""
    named = {name for node in model.graph.node for name in node.output}
    computed = [n.output for n in graph.nodes if n.writes_codes]
    return {name: graph.qparams[name] for name in computed if name in named}


def tensor_name(codes: str) -> str:
    """The reference's name of a code tensor; ``.wide`` marks codes before they are saturated."""
    return codes.removesuffix(".wide").removesuffix(CODES)


def output_codes(graph: IntegerGraph) -> list[str]:
    """The code tensor behind each graph output, in order."""
    sources = {n.output: n.inputs[0] for n in graph.nodes if isinstance(n, Dequantize)}
    return [sources.get(name, name) for name in graph.outputs]
