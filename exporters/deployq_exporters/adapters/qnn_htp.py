"""Qualcomm HTP through ONNX Runtime's QNN provider as an adapter."""

from __future__ import annotations

import onnx

from deployq.qgraph import read_graph
from deployq_exporters.adapters.adapter import Adapter, Answer, Load, Source
from deployq_exporters.adapters.onnx_files import LoadedFile, read_file, writer
from deployq_exporters.dialects.qnn import QNN
from deployq_exporters.runtimes.probes import probed
from deployq_exporters.runtimes.qnn_htp import Session
from deployq_targets import TargetProfile

EMULATED = 128
"""Samples: the emulator runs them one by one, at a hundredth of a processor's speed."""


def _load(source: Source, content: bytes, load: Load) -> LoadedFile:
    model = onnx.load_from_string(content)
    graph = read_graph(model)
    session = Session(model, probed(model, graph) if load.inner else {})
    # all nodes run on HTP or the file is refused
    return LoadedFile(graph, lambda fed: Answer(*session.run(fed)), floats=())


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
    load=_load,
    contract=_contract,
    most_samples=EMULATED,
    emulated=True,
)
