"""OpenVINO's CPU plugin as an adapter."""

from __future__ import annotations

from collections.abc import Mapping

from deployq import affine
from deployq.qgraph import IntegerGraph
from deployq.qgraph.edges import output_qparams
from deployq_exporters.adapters.adapter import Adapter, Answer, Array, Load, Source
from deployq_exporters.adapters.onnx_files import LoadedFile, read_file, writer
from deployq_exporters.dialects.openvino import OPENVINO
from deployq_exporters.runtimes.openvino import Session


def _load(source: Source, content: bytes, load: Load) -> LoadedFile:
    graph, session = read_file(source, content), Session(content, threads=load.threads)
    coverage = session.coverage()
    facts = {"layers": len(coverage.layers)}
    return LoadedFile(
        graph, lambda fed: Answer(_rounded(source.graph, session.run(fed))), coverage.floats, facts
    )


def _rounded(graph: IntegerGraph, outputs: Mapping[str, Array]) -> dict[str, Array]:
    """The dialect leaves the last rounding of some outputs to their reader: it happens here.

    Args:
        graph: of the canonical file, whose outputs' grids count.
        outputs: reals, (N, ...); those on their grid already stay as they are.
    """
    grids = output_qparams(graph)
    return {
        name: affine.fake_quantize(array, grids[name])
        if name in grids and array.dtype.kind == "f"
        else array
        for name, array in outputs.items()
    }


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
