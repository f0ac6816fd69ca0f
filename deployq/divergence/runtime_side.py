"""A file in ONNX Runtime as a side, un-optimised or as it is deployed."""

from __future__ import annotations

from functools import cached_property

import numpy as np

from deployq import affine
from deployq.arithmetic.contract import Contract
from deployq.divergence.fed_file import FED, fed_file
from deployq.divergence.sides import Array, Codes, Side, named_tensors
from deployq.opened_file import OpenedFile
from deployq.qparams import QParams
from deployq.verifier.evidence import probed
from deployq.verifier.file_session import FileSession
from deployq.verifier.placement import float_tensors
from deployq_exporters.dialects import DIALECTS
from deployq_exporters.dialects.dialect import feedable
from deployq_targets import load_profile


class InRuntime(Side):
    """A file that ONNX Runtime computes.

    Args:
        label: of the side.
        opened: the file.
        optimised: default optimisation level, or none at all.

    Raises:
        InputError: ONNX Runtime refuses the file.
    """

    def __init__(self, label: str, opened: OpenedFile, *, optimised: bool) -> None:
        model = feedable(opened.model)
        self._file = opened if model is opened.model else opened.rewritten(model)
        self.label, self.optimised = label, optimised
        graph = self._file.graph
        self.probes = probed(self._file.model, graph)
        known = {*self.probes, *(name for name in graph.outputs if name in graph.qparams)}
        named = named_tensors(graph).items()
        self.names = {tensor: name for tensor, name in named if name in known}
        self._session = self._open(self._file)
        self._opened: tuple[frozenset[str], FileSession] | None = None

    def _open(self, file: OpenedFile) -> FileSession:
        return FileSession(file.model, self._file.graph, self.probes, optimised=self.optimised)

    @property
    def tensors(self) -> dict[str, QParams]:
        return {tensor: self._file.graph.qparams[name] for tensor, name in self.names.items()}

    @property
    def file(self) -> OpenedFile:
        return self._file

    @property
    def stated(self) -> bool:
        return False

    def contract_of(self, tensor: str) -> Contract | None:
        return None if self.names[tensor] in self._in_float else self._contract

    @cached_property
    def _contract(self) -> Contract:
        return load_profile(DIALECTS["onnxruntime"].contract).contract()

    @cached_property
    def _in_float(self) -> set[str]:
        """Code tensors of layers in float: un-optimised, that is every one."""
        if not self.optimised:
            return set(self.names.values())
        return self._float_tensors(self._session)

    def _float_tensors(self, session: FileSession) -> set[str]:
        return set(float_tensors(self._file.graph, session.placement))

    def _fed(self, fed: frozenset[str]) -> FileSession:
        """The file with these code tensors coming from outside."""
        if self._opened is None or self._opened[0] != fed:
            parameters = {name: self.probes[name] for name in fed}
            made = OpenedFile(fed_file(self._file.model, parameters), self._file.graph)
            self._opened = fed, self._open(made)
        return self._opened[1]

    def run(self, inputs: Codes, forced: Codes | None = None) -> dict[str, Array]:
        if forced is None:
            outputs, codes = self._session.run(inputs)
            return self._tensors({**outputs, **codes})
        reals = {
            self.names[tensor]: affine.dequantize(codes, self.tensors[tensor])
            for tensor, codes in forced.items()
            if self.names.get(tensor) in self.probes
        }
        session = self._fed(frozenset(reals))
        outputs, codes = session.run({**inputs, **{n + FED: x for n, x in reals.items()}})
        moved = self._moved(session)
        return self._tensors({n: x for n, x in {**outputs, **codes}.items() if n not in moved})

    def _tensors(self, found: Codes) -> dict[str, Array]:
        names = self.names.items()
        return {tensor: found[n].astype(np.int64) for tensor, n in names if n in found}

    def _moved(self, fed: FileSession) -> set[str]:
        """Code tensors whose layer becomes another kernel when it is fed from outside."""
        if not self.optimised:
            return set()
        return self._in_float ^ self._float_tensors(fed)
