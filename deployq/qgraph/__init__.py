"""One reader from ONNX (QDQ, QOperator, com.microsoft) to frozen integer nodes.

Simulation, checks, overflow proofs, golden vectors and writers of other formats read this object
and never the ONNX file.
"""

from __future__ import annotations

from deployq.qgraph.nodes import IntegerGraph
from deployq.qgraph.reader import read_graph

__all__ = ["IntegerGraph", "read_graph"]
