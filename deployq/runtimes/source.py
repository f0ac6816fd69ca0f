"""What adapters are given of a network."""

from __future__ import annotations

import onnx

from deployq.qgraph import IntegerGraph
from deployq.simulator.shapes import code_shapes
from deployq.verifier.evidence import Evidence
from deployq_exporters.adapters import Source
from deployq_targets import TargetProfile


def make_source(model: onnx.ModelProto, graph: IntegerGraph, profile: TargetProfile) -> Source:
    """A canonical file, what it says, and its shapes."""
    shapes = code_shapes(model, graph)
    assert shapes is not None  # a canonical file leaves the batch free, and nothing else
    return Source(model, graph, shapes, profile)


def source_of(evidence: Evidence) -> Source:
    """That of a bundle."""
    return make_source(evidence.canonical, evidence.graph, evidence.prepared.profile)
