"""Code tensors of a file that a session can show beside its outputs."""

from __future__ import annotations

import onnx

from deployq.qgraph import IntegerGraph
from deployq.qgraph.edges import CODES
from deployq.qparams import QParams


def probed(model: onnx.ModelProto, graph: IntegerGraph) -> dict[str, QParams]:
    """Every computed code tensor that the file itself has under this name, but for an edge whose
    codes it also has behind the change of container: the output itself shows that one.
    """
    named = {name for node in model.graph.node for name in node.output}
    computed = [n.output for n in graph.nodes if n.writes_codes]
    twice = {name for name in graph.outputs if name + CODES in graph.qparams}
    return {n: graph.qparams[n] for n in computed if n in named and n not in twice}
