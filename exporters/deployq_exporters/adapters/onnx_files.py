"""What adapters of runtimes that take ONNX files share."""

from __future__ import annotations

from collections.abc import Callable

import onnx

from deployq.qgraph import IntegerGraph, read_graph
from deployq.qparams import QParams
from deployq_exporters.adapters.adapter import Source
from deployq_exporters.dialects.dialect import Dialect, translate


def writer(dialect: Dialect) -> Callable[[Source], bytes]:
    """Writes the canonical file in a dialect."""

    def write(source: Source) -> bytes:
        content: bytes = translate(source.model, dialect).SerializeToString(deterministic=True)
        return content

    return write


def read_file(source: Source, content: bytes) -> IntegerGraph:
    """What an ONNX file says."""
    return read_graph(onnx.load_from_string(content))


def named_codes(model: onnx.ModelProto, graph: IntegerGraph) -> dict[str, QParams]:
    """Parameters of every computed code tensor that the file itself has under this name."""
    named = {name for node in model.graph.node for name in node.output}
    computed = [n.output for n in graph.nodes if n.writes_codes]
    return {name: graph.qparams[name] for name in computed if name in named}
