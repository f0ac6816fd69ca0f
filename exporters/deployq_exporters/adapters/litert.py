"""LiteRT as an adapter, with the kernel set that a profile names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from deployq import affine
from deployq.qgraph import IntegerGraph
from deployq.qgraph.edges import output_codes
from deployq.qgraph.nodes import Quantize
from deployq_exporters.adapters.adapter import Adapter, Answer, Array, Load, Source
from deployq_exporters.runtimes.litert import Kernels, Session
from deployq_exporters.tflite import write_tflite
from deployq_exporters.tflite.signed import signed_graph
from deployq_targets import TargetProfile

CONTRACTS = {
    Kernels.REFERENCE: "litert-ref",
    Kernels.OPTIMISED: "litert-optimized",
    Kernels.XNNPACK: "litert-xnnpack",
}
WIDE, WIDE_CONTRACT = 16, "litert-16x8-optimized"
"""Activations that XNNPACK leaves to the optimised kernels."""


def kernels_of(profile: TargetProfile) -> Kernels:
    """The kernel set that a profile names; what a user gets who names none is XNNPACK's."""
    return Kernels(profile.verify.options.get("kernels", Kernels.XNNPACK))


class _Loaded:
    """Codes come in and go out: reals are quantized as the graph's first nodes do (law 1)."""

    def __init__(self, source: Source, content: bytes, load: Load) -> None:
        self.graph = _read(source, content)
        self._canonical = source.graph.qparams
        kernels = kernels_of(source.profile)
        self._session = Session(content, kernels, probes=load.inner, threads=load.threads)
        self._quantizes = {n.output: n for n in self.graph.nodes if isinstance(n, Quantize)}
        self._names = dict(zip(output_codes(self.graph), self.graph.outputs, strict=True))

    @property
    def floats(self) -> tuple[str, ...]:
        return tuple(node.name for node in self.graph.floats)

    @property
    def float_products(self) -> tuple[str, ...]:
        return ()  # the writer takes normalizations alone in float

    @property
    def facts(self) -> Mapping[str, Any]:
        return {"kernels": str(self._session.kernels), "delegated": len(self._session.delegated())}

    def run(self, inputs: Mapping[str, Array]) -> Answer:
        fed = {name: self._fed(name, inputs) for name in self._session.inputs}
        outputs, inner = self._session.run(fed)
        return Answer({self._names[name]: codes for name, codes in outputs.items()}, inner)

    def _fed(self, name: str, inputs: Mapping[str, Array]) -> Array:
        node, qparams = self._quantizes.get(name), self.graph.qparams[name]
        array = inputs[name if node is None else node.inputs[0]]
        if array.dtype != np.float32:  # codes of the canonical file
            apart = qparams.zero_point.astype(np.int64) - self._canonical[name].zero_point
            return (array.astype(np.int64) + apart).astype(qparams.qtype.dtype)
        codes = affine.quantize(array, qparams)
        if node is not None and node.bounds is not None:
            codes = codes.clip(*node.bounds).astype(codes.dtype)
        return codes


def _write(source: Source) -> bytes:
    return write_tflite(source.graph, source.shapes)


def _read(source: Source, content: bytes) -> IntegerGraph:
    return signed_graph(source.graph)


def _contract(profile: TargetProfile) -> str:
    """A profile that names a kernel set is the contract of that set itself."""
    if "kernels" in profile.verify.options:
        return profile.name
    wide = profile.default_activation_bits == WIDE
    return WIDE_CONTRACT if wide else CONTRACTS[kernels_of(profile)]


ADAPTER = Adapter(
    name="litert",
    title="LiteRT, CPU",
    distribution="ai-edge-litert",
    module="ai_edge_litert",
    least="2.3",
    install='pip install "deployq[litert]"',
    licence="Apache-2.0",
    file_name="model.tflite",
    write=_write,
    read=_read,
    load=_Loaded,
    contract=_contract,
)
