"""Qualcomm HTP through ONNX Runtime's QNN provider as an adapter."""

from __future__ import annotations

import onnx

from deployq_exporters.adapters.adapter import Adapter, Answer, Compiled, Load, Source
from deployq_exporters.adapters.onnx_files import LoadedFile, read_file, read_model, writer
from deployq_exporters.dialects.qnn import QNN
from deployq_exporters.runtimes.probes import probed
from deployq_exporters.runtimes.qnn_context import Context, prepare_offline, read_context
from deployq_exporters.runtimes.qnn_htp import Session
from deployq_targets import TargetProfile

EMULATED = 128
"""Samples: the emulator runs them one by one, at a hundredth of a processor's speed."""

ARCHITECTURE = "htp_arch"
"""The option of a profile's tool that names the processor."""


def _load(source: Source, content: bytes, load: Load) -> LoadedFile:
    """The file as it is prepared offline; inner codes are those of the file itself.

    All nodes run on HTP or the file is refused.
    """
    model = onnx.load_from_string(content)
    graph = read_model(source, model)
    if load.inner:
        architecture = _architecture(source)
        probing = Session(model, probed(model, graph), architecture=architecture)
        return LoadedFile(graph, lambda fed: Answer(*probing.run(fed)), floats=())
    made = load.compiled
    context = _prepare(source, content) if made is None else read_context(made, model.graph.name)
    session = Session(model, context=context)
    facts = {
        "context_bytes": context.binary_bytes, "prepared_by": f"QNN {context.sdk}",
        "compatibility": context.compatibility,
    }  # fmt: skip
    return LoadedFile(graph, lambda fed: Answer(*session.run(fed)), floats=(), facts=facts)


def _prepare(source: Source, content: bytes) -> Context:
    return prepare_offline(onnx.load_from_string(content), _architecture(source))


def _architecture(source: Source) -> str:
    return str(source.profile.verify.options.get(ARCHITECTURE, ""))


def _compile(source: Source, content: bytes) -> bytes:
    return _prepare(source, content).content


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
    compiled=Compiled("model.qnn.context.onnx", _compile),
)
