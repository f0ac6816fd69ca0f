"""What adapters are given of a network."""

from __future__ import annotations

import onnx

from deployq.qgraph import IntegerGraph
from deployq.simulator.shapes import canonical_shapes
from deployq.verifier.evidence import Evidence
from deployq_exporters.adapters import Source
from deployq_targets import TargetProfile


def make_source(model: onnx.ModelProto, graph: IntegerGraph, profile: TargetProfile) -> Source:
    """A canonical file, what it says, and its shapes."""
    return Source(model, graph, canonical_shapes(model, graph), profile)


def source_of(evidence: Evidence) -> Source:
    """That of a bundle."""
    return Source(evidence.canonical, evidence.graph, evidence.shapes, evidence.prepared.profile)
