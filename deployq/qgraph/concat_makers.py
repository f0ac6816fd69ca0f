"""A Concat whose operands are computed at its own parameters, as a contract may have it.

A file says that a layer rounds to its own grid and that the Concat behind it changes that grid.
Qualcomm's HTP leaves the first step out: the layer writes at the Concat's parameters, without a
second rounding and without the saturation of the first grid.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from deployq.arithmetic.contract import Contract
from deployq.arithmetic.requant_words import Rescaling
from deployq.qgraph.nodes import Concat, Elementwise, IntegerGraph, Linear, Lookup, Move, Node
from deployq.qparams import QParams

LAYERS = ("Conv", "Gemm")
FUNCTIONS = ("Sigmoid", "Tanh", "Swish")
MOVEMENTS = ("Reshape", "Flatten", "Transpose", "Slice", "Squeeze", "Unsqueeze")
"""What an operand may go through on its way; other movements were not looked at."""


def concats_by_makers(graph: IntegerGraph, contract: Contract) -> IntegerGraph:
    """The graph with copies of what a Concat joins, at its parameters, where a contract says so.

    Convolutions, Gemm, Add, Mul, Concat and some functions without a clamp are copied, also behind
    movements; what else reads them reads the first ones. Lowest codes that stand for 0.0 there and
    not in the Concat are a Relu: those operands stay. Copies are named after both tensors.

    Source: trials on Qualcomm's x86 emulator (onnxruntime-qnn 2.7.0).
    """
    if contract.form("Concat").rescaling is not Rescaling.BY_MAKERS:
        return graph
    return _Copies(graph).graph()


class _Copies:
    def __init__(self, graph: IntegerGraph) -> None:
        self.source = graph
        self.makers: Mapping[str, Node] = {node.output: node for node in graph.nodes}
        self.qparams = dict(graph.qparams)
        self.nodes: list[Node] = []

    def graph(self) -> IntegerGraph:
        for node in self.source.nodes:
            self.nodes.append(self._joined(node, node.output) if isinstance(node, Concat) else node)
        if len(self.nodes) == len(self.source.nodes):
            return self.source
        return replace(self.source, nodes=tuple(self.nodes), qparams=self.qparams)

    def _joined(self, node: Concat, at: str) -> Node:
        return replace(node, inputs=tuple(self._at(name, at) for name in node.inputs))

    def _at(self, name: str, at: str) -> str:
        """The tensor at the parameters of another; itself where HTP rescales it."""
        own, wanted, maker = self.qparams[name], self.qparams[at], self.makers.get(name)
        if own == wanted or maker is None or maker.bounds or _is_relu(own, wanted):
            return name
        made = self._copy(maker, at)
        if made is None:
            return name
        copied = f"{name}@{at}"
        if copied not in self.qparams:
            self.qparams[copied] = wanted
            self.nodes.append(replace(made, output=copied))
        return copied

    def _copy(self, maker: Node, at: str) -> Node | None:
        if isinstance(maker, Concat):
            return self._joined(maker, at)
        if isinstance(maker, Move) and maker.op_type in MOVEMENTS:
            inputs = tuple(self._at(name, at) for name in maker.inputs)
            return replace(maker, inputs=inputs) if inputs != maker.inputs else None
        layer = isinstance(maker, Linear) and maker.op_type in LAYERS and not maker.in_reals
        function = isinstance(maker, Lookup) and maker.op_type in FUNCTIONS
        return maker if layer or function or isinstance(maker, Elementwise) else None


def _is_relu(own: QParams, wanted: QParams) -> bool:
    lowest = own.qtype.qmin
    return bool(own.zero_point == lowest) and bool(wanted.zero_point != lowest)
