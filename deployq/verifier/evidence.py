"""An opened bundle: prepared model, canonical file and the runtime's file, all read once."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

import onnx

from deployq.bundle import CANONICAL_FILE, read_bundle
from deployq.data import load_arrays
from deployq.errors import InputError
from deployq.graph.onnx_guard import load_onnx
from deployq.graph.prepared_files import load_prepared_model
from deployq.qgraph import IntegerGraph, read_graph
from deployq.qgraph.edges import CODES, code_tensor, integer_inputs, with_ranges
from deployq.qparams import QParams
from deployq.simulator.shapes import canonical_shapes
from deployq.verifier.file_session import FileSession
from deployq_exporters.dialects import DIALECTS
from deployq_exporters.dialects.dialect import feedable
from deployq_exporters.rewrites.code_clip import BEFORE
from deployq_exporters.runtimes.probes import probed
from deployq_targets import load_profile

RUNTIME_FILE = DIALECTS["onnxruntime"].file_name
GOLDEN_FILE = "golden.npz"

MOST_SAMPLES = 64
MOST_CODES = 1 << 26
"""Of all tensors of one batch, which are in memory at once, several times over."""


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
        self.facts = bundle.facts
        self.grids = self.prepared.grids()
        """Parameters of every tensor of the reference."""
        self.graph = self._read(self.canonical)
        self.runtime_graph = self._read(self.runtime_file)
        self.contract = self.prepared.profile.contract()
        self.runtime_contract = load_profile(dialect.contract).contract()
        self.golden = load_arrays(path / GOLDEN_FILE)

    def _read(self, model: onnx.ModelProto) -> IntegerGraph:
        joins = self.prepared.profile.graph.joins_sums
        return with_ranges(read_graph(model, joins_sums=joins), self.grids)

    @property
    def edges(self) -> dict[str, QParams]:
        """Parameters of the inputs that the files take as codes."""
        return integer_inputs(self.graph)

    @cached_property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Of one sample, of every tensor of the canonical file."""
        return canonical_shapes(self.canonical, self.graph)

    @property
    def batch(self) -> int:
        """Samples that are evaluated at a time: fewer where a sample makes many codes."""
        codes = [array for name, array in self.golden.items() if name.startswith("codes/")]
        each = max(1, sum(array[:1].size for array in codes if array.ndim))
        return max(1, min(MOST_SAMPLES, MOST_CODES // each))

    def shift(self, graph: IntegerGraph, tensor: str) -> int:
        """What a dialect's container adds to a tensor's codes: the zero points' difference."""
        codes = graph.qparams[code_tensor(graph, tensor)]
        return int(codes.zero_point) - int(self.grids[tensor].zero_point)

    def runtime_session(self, *, probes: bool) -> FileSession:
        """The runtime's file as it is deployed."""
        names = probed(self.runtime_file, self.runtime_graph) if probes else None
        return FileSession(self.runtime_file, self.runtime_graph, names)

    def float_session(self, *, probes: bool) -> FileSession:
        """The canonical file, un-optimised."""
        model = feedable(self.canonical)
        graph = self.graph if model is self.canonical else self._read(model)
        names = probed(model, graph) if probes else None
        return FileSession(model, graph, names, optimised=False)


def tensor_name(codes: str) -> str:
    """The reference's name of a code tensor, or of codes in front of a Clip that finishes them."""
    return codes.partition(BEFORE)[0].removesuffix(CODES)
