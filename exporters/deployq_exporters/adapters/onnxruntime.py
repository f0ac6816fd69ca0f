"""ONNX Runtime's CPU provider as an adapter."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import onnx

from deployq.qgraph import IntegerGraph, read_graph
from deployq.qgraph.edges import feed
from deployq_exporters.adapters.adapter import Adapter, Answer, Array, Load, Source
from deployq_exporters.dialects import DIALECTS, translate
from deployq_exporters.runtimes.onnxruntime import Session
from deployq_exporters.runtimes.placement import float_operators
from deployq_targets import TargetProfile

DIALECT = DIALECTS["onnxruntime"]


class _Loaded:
    def __init__(self, source: Source, content: bytes, load: Load) -> None:
        model = onnx.load_from_string(content)
        self.graph = read_graph(model)
        named = {name for node in model.graph.node for name in node.output}
        codes = [n.output for n in self.graph.nodes if n.writes_codes and n.output in named]
        probes = {name: self.graph.qparams[name] for name in codes} if load.inner else {}
        self._session = Session(model, probes, threads=load.threads)

    @property
    def floats(self) -> tuple[str, ...]:
        return float_operators(self.graph, self._session.placement)

    @property
    def facts(self) -> Mapping[str, Any]:
        return {}

    def run(self, inputs: Mapping[str, Array]) -> Answer:
        return Answer(*self._session.run(feed(self.graph, inputs)))


def _write(source: Source) -> bytes:
    content: bytes = translate(source.model, DIALECT).SerializeToString(deterministic=True)
    return content


def _read(source: Source, content: bytes) -> IntegerGraph:
    return read_graph(onnx.load_from_string(content))


def _contract(profile: TargetProfile) -> str:
    return DIALECT.contract


ADAPTER = Adapter(
    name="onnxruntime",
    title="ONNX Runtime, CPU",
    distribution="onnxruntime",
    module="onnxruntime",
    least="1.31",
    install="pip install onnxruntime",
    licence="MIT",
    file_name=DIALECT.file_name,
    write=_write,
    read=_read,
    load=_Loaded,
    contract=_contract,
)
