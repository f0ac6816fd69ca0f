"""OpenVINO's CPU plugin as an adapter."""

from __future__ import annotations

from deployq_exporters.adapters.adapter import Adapter, Answer, Load, Source
from deployq_exporters.adapters.onnx_files import LoadedFile, read_file, writer
from deployq_exporters.dialects.openvino import OPENVINO
from deployq_exporters.runtimes.openvino import Session


def _load(source: Source, content: bytes, load: Load) -> LoadedFile:
    graph, session = read_file(source, content), Session(content, threads=load.threads)
    coverage = session.coverage()
    facts = {"layers": len(coverage.layers)}
    return LoadedFile(graph, lambda fed: Answer(session.run(fed)), coverage.floats, facts)


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
    load=_load,
)
