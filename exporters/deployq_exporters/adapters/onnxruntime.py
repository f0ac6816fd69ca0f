"""ONNX Runtime's CPU provider as an adapter."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import onnx

from deployq.qgraph import read_graph
from deployq.qgraph.edges import feed
from deployq_exporters.adapters.adapter import Adapter, Answer, Array, Load, Source
from deployq_exporters.adapters.onnx_files import named_codes, read_file, writer
from deployq_exporters.dialects import DIALECTS
from deployq_exporters.runtimes.onnxruntime import Session
from deployq_exporters.runtimes.placement import float_operators
from deployq_targets import TargetProfile

DIALECT = DIALECTS["onnxruntime"]


class _Loaded:
    def __init__(self, source: Source, content: bytes, load: Load) -> None:
        model = onnx.load_from_string(content)
        self.graph = read_graph(model)
        probes = named_codes(model, self.graph) if load.inner else {}
        self._session = Session(model, probes, threads=load.threads)

    @property
    def floats(self) -> tuple[str, ...]:
        return float_operators(self.graph, self._session.placement)

    @property
    def facts(self) -> Mapping[str, Any]:
        return {}

    def run(self, inputs: Mapping[str, Array]) -> Answer:
        return Answer(*self._session.run(feed(self.graph, inputs)))


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
    write=writer(DIALECT),
    read=read_file,
    load=_Loaded,
    contract=_contract,
)
