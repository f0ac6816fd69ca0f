"""Qualcomm HTP through ONNX Runtime's QNN provider as an adapter."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import onnx

from deployq.qgraph import read_graph
from deployq.qgraph.edges import feed
from deployq_exporters.adapters.adapter import Adapter, Answer, Array, Load, Source
from deployq_exporters.adapters.onnx_files import named_codes, read_file, writer
from deployq_exporters.dialects.qnn import QNN
from deployq_exporters.runtimes.qnn_htp import Session
from deployq_targets import TargetProfile

EMULATED = 128
"""Samples: the emulator runs them one by one, at a hundredth of a processor's speed."""


class _Loaded:
    def __init__(self, source: Source, content: bytes, load: Load) -> None:
        model = onnx.load_from_string(content)
        self.graph = read_graph(model)
        probes = named_codes(model, self.graph) if load.inner else {}
        self._session = Session(model, probes)

    @property
    def floats(self) -> tuple[str, ...]:
        return ()  # all nodes run on HTP or the file is refused

    @property
    def facts(self) -> Mapping[str, Any]:
        return {}

    def run(self, inputs: Mapping[str, Array]) -> Answer:
        return Answer(*self._session.run(feed(self.graph, inputs)))


def _contract(profile: TargetProfile) -> str:
    return QNN.contract


ADAPTER = Adapter(
    name="qnn-htp",
    title="Qualcomm HTP by ONNX Runtime's QNN provider, emulated",
    distribution="onnxruntime-qnn",
    module="onnxruntime_qnn",
    least="2.7",
    install='pip install "deployq[qnn]"',
    licence="MIT; Qualcomm's libraries inside are proprietary",
    file_name=QNN.file_name,
    write=writer(QNN),
    read=read_file,
    load=_Loaded,
    contract=_contract,
    most_samples=EMULATED,
    emulated=True,
)
