"""OpenVINO's CPU plugin as an adapter."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import onnx

from deployq.qgraph import read_graph
from deployq.qgraph.edges import feed
from deployq_exporters.adapters.adapter import Adapter, Answer, Array, Load, Source
from deployq_exporters.adapters.onnx_files import read_file, writer
from deployq_exporters.dialects.openvino import OPENVINO
from deployq_exporters.runtimes.openvino import Session
from deployq_targets import TargetProfile


class _Loaded:
    def __init__(self, source: Source, content: bytes, load: Load) -> None:
        self.graph = read_graph(onnx.load_from_string(content))
        self._session = Session(content, threads=load.threads)
        self._coverage = self._session.coverage()

    @property
    def floats(self) -> tuple[str, ...]:
        return self._coverage.floats

    @property
    def facts(self) -> Mapping[str, Any]:
        return {"layers": len(self._coverage.layers)}

    def run(self, inputs: Mapping[str, Array]) -> Answer:
        return Answer(self._session.run(feed(self.graph, inputs)))


def _contract(profile: TargetProfile) -> None:
    """Its float32 requantization is not known step by step."""


ADAPTER = Adapter(
    name="openvino",
    title="OpenVINO, CPU",
    distribution="openvino",
    module="openvino",
    least="2026.4",
    install='pip install "deployq[openvino]"',
    licence="Apache-2.0",
    file_name=OPENVINO.file_name,
    write=writer(OPENVINO),
    read=read_file,
    load=_Loaded,
    contract=_contract,
)
