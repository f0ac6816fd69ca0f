"""ONNX Runtime's CPU provider as an adapter."""

from __future__ import annotations

import onnx

from deployq_exporters.adapters.adapter import Adapter, Answer, Load, Source
from deployq_exporters.adapters.onnx_files import LoadedFile, read_file, read_model, writer
from deployq_exporters.dialects import DIALECTS
from deployq_exporters.runtimes.onnxruntime import Session
from deployq_exporters.runtimes.placement import float_operators, float_products
from deployq_exporters.runtimes.probes import probed
from deployq_targets import TargetProfile

DIALECT = DIALECTS["onnxruntime"]


def _load(source: Source, content: bytes, load: Load) -> LoadedFile:
    model = onnx.load_from_string(content)
    graph = read_model(source, model)
    session = Session(model, probed(model, graph) if load.inner else {}, threads=load.threads)
    floats = float_operators(graph, session.placement)
    products = float_products(graph, session.placement)
    return LoadedFile(graph, lambda fed: Answer(*session.run(fed)), floats, products=products)


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
    load=_load,
    contract=_contract,
)
