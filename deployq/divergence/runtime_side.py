"""A file in ONNX Runtime as a side, un-optimised or as it is deployed."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property

import numpy as np
import onnx

from deployq import affine
from deployq.arithmetic.contract import Contract
from deployq.divergence.fed_file import FED, fed_file
from deployq.divergence.sides import Array, Codes, Side, named_tensors
from deployq.opened_file import OpenedFile
from deployq.qgraph.nodes import Dequantize
from deployq.qgraph.values import label
from deployq.qparams import QParams
from deployq.verifier.file_session import FileSession
from deployq_exporters.dialects import DIALECTS
from deployq_exporters.dialects.dialect import feedable
from deployq_exporters.runtimes.placement import not_in_integers
from deployq_exporters.runtimes.probes import probed
from deployq_targets import load_profile

Probes = Mapping[str, QParams]


class InRuntime(Side):
    """A file that ONNX Runtime computes.

    Codes are read from inside the file only where that leaves every layer its kernel; those behind
    an output are read from the output.

    Args:
        label: of the side.
        opened: the file.
        optimised: default optimisation level, or none at all.

    Raises:
        InputError: ONNX Runtime refuses the file.
    """

    def __init__(self, label: str, opened: OpenedFile, *, optimised: bool) -> None:
        model = _with_names(feedable(opened.model))
        self._file = opened if model is opened.model else opened.rewritten(model)
        self.label, self.optimised = label, optimised
        graph = self._file.graph
        self.outputs = {
            node.inputs[0]: node.output
            for node in graph.nodes
            if isinstance(node, Dequantize) and node.output in graph.outputs
        }
        self._plain = self._in_float(self._open(self._file.model, {}) if optimised else None)
        self.probes, self._session = self._harmless(probed(model, graph))
        known = {*self.probes, *self.outputs, *(n for n in graph.outputs if n in graph.qparams)}
        self.names = {t: name for t, name in named_tensors(graph).items() if name in known}
        self._fed: tuple[frozenset[str], FileSession] | None = None

    def _open(self, model: onnx.ModelProto, probes: Probes) -> FileSession:
        return FileSession(model, self._file.graph, probes, optimised=self.optimised)

    def _in_float(self, session: FileSession | None) -> set[str]:
        """Code tensors of layers in float: un-optimised, that is every one."""
        graph = self._file.graph
        if session is None or not self.optimised:
            return {node.output for node in graph.nodes}
        return set(not_in_integers(graph, session.placement))

    def _harmless(self, probes: Probes) -> tuple[Probes, FileSession]:
        """The probes that leave every layer the kernel that it has without, and their session."""
        makers = {node.output: node for node in self._file.graph.nodes}
        while True:
            session = self._open(self._file.model, probes)
            moved = self._in_float(session) ^ self._plain
            if not moved:
                return probes, session
            near = moved | {name for output in moved for name in makers[output].inputs}
            kept = {name: qparams for name, qparams in probes.items() if name not in near}
            probes = kept if len(kept) < len(probes) else {}

    @property
    def tensors(self) -> dict[str, QParams]:
        return {tensor: self._file.graph.qparams[name] for tensor, name in self.names.items()}

    @property
    def hidden(self) -> frozenset[str]:
        return frozenset(named_tensors(self._file.graph)) - set(self.names)

    @property
    def file(self) -> OpenedFile:
        return self._file

    @property
    def stated(self) -> bool:
        return False

    def contract_of(self, tensor: str) -> Contract | None:
        return None if self.names[tensor] in self._plain else self._contract

    @cached_property
    def _contract(self) -> Contract:
        return load_profile(DIALECTS["onnxruntime"].contract).contract()

    def run(self, inputs: Codes, forced: Codes | None = None) -> dict[str, Array]:
        if forced is None:
            return self._tensors(*self._session.run(inputs))
        names = ((self.names.get(tensor, ""), codes) for tensor, codes in forced.items())
        probes = self.probes
        reals = {n: affine.dequantize(codes, probes[n]) for n, codes in names if n in probes}
        session = self._fed_session(frozenset(reals))
        found = session.run({**inputs, **{name + FED: x for name, x in reals.items()}})
        moved = self._in_float(session) ^ self._plain
        computed = self._tensors(*found).items()
        return {tensor: codes for tensor, codes in computed if self.names[tensor] not in moved}

    def _fed_session(self, fed: frozenset[str]) -> FileSession:
        """The file with these code tensors coming from outside."""
        if self._fed is None or self._fed[0] != fed:
            model = fed_file(self._file.model, {name: self.probes[name] for name in fed})
            self._fed = fed, self._open(model, self.probes)
        return self._fed[1]

    def _tensors(self, outputs: Codes, probed: Codes) -> dict[str, Array]:
        """Codes by tensor, from where they can be read: a probe, an output, an output's reals."""
        found = {**outputs, **probed}
        for name, output in self.outputs.items():
            if name not in probed:
                found[name] = affine.quantize(outputs[output], self._file.graph.qparams[name])
        return {tensor: found[name].astype(np.int64) for tensor, name in self.names.items()}


def _with_names(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model, or a copy with a name for every node: the runtime's graph is told by them."""
    if all(node.name for node in model.graph.node):
        return model
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    for node in copy.graph.node:
        node.name = label(node)
    return copy
