"""What adapters are given of a bundle."""

from __future__ import annotations

from deployq.inspection.shapes import code_shapes
from deployq.verifier.evidence import Evidence
from deployq_exporters.adapters import Source


def source_of(evidence: Evidence) -> Source:
    """The canonical file of a bundle, its shapes and its target."""
    shapes = code_shapes(evidence.canonical, evidence.graph)
    assert shapes is not None  # a canonical file leaves the batch free, and nothing else
    return Source(evidence.canonical, evidence.graph, shapes, evidence.prepared.profile)
