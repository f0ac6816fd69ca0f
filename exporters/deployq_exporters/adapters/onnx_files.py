"""What adapters of runtimes that take ONNX files share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import onnx

from deployq.qgraph import IntegerGraph, read_graph
from deployq.qgraph.edges import feed
from deployq_exporters.adapters.adapter import Answer, Array, Source
from deployq_exporters.dialects.dialect import Dialect, translate


@dataclass(frozen=True)
class LoadedFile:
    """An ONNX file that a runtime took.

    Args:
        graph: what it says.
        compute: what the runtime makes of the file's inputs.
        floats, facts: see ``Loaded``.
        products: ``Loaded.float_products``; None where those of ``floats`` are all.
    """

    graph: IntegerGraph
    compute: Callable[[Mapping[str, Array]], Answer]
    floats: tuple[str, ...] | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)
    products: tuple[str, ...] | None = None

    @property
    def float_products(self) -> tuple[str, ...] | None:
        """See ``Loaded``."""
        return self.floats if self.products is None else self.products

    def run(self, inputs: Mapping[str, Array]) -> Answer:
        """See ``Loaded``."""
        return self.compute(feed(self.graph, inputs))


def writer(dialect: Dialect) -> Callable[[Source], bytes]:
    """Writes the canonical file in a dialect."""

    def write(source: Source) -> bytes:
        content: bytes = translate(source.model, dialect).SerializeToString(deterministic=True)
        return content

    return write


def read_file(source: Source, content: bytes) -> IntegerGraph:
    """What an ONNX file says."""
    return read_model(source, onnx.load_from_string(content))


def read_model(source: Source, model: onnx.ModelProto) -> IntegerGraph:
    """What a model says to its target."""
    return read_graph(model, joins_sums=source.profile.graph.joins_sums)
