"""A QDQ file on Qualcomm HTP beside the simulator, each node fed what HTP computed before it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy.typing as npt
import onnx
import torch
from torch import Tensor

from deployq import affine
from deployq.arithmetic.contract import Contract
from deployq.arithmetic.kernels.codes import torch_dtype
from deployq.arithmetic.row_operators import knows_rows
from deployq.errors import UnsupportedError
from deployq.qgraph import read_graph
from deployq.qgraph.as_computed import as_computed
from deployq.qgraph.nodes import IntegerGraph, Linear, Node, Quantize, Softmax
from deployq.simulator.operators import compute
from deployq.simulator.reals import output_reals
from deployq_exporters.runtimes.placement import tensors_from_floats
from deployq_exporters.runtimes.qnn_htp import Session

Array = npt.NDArray[Any]
IN_FLOAT = ", in float"
"""Ends the name of an operator that the contract has in float: HTP's codes of it are not known."""


@dataclass(frozen=True)
class Tally:
    """The codes of one operator.

    Args:
        operator: ONNX's name, or the contract's for a kind of it; what it has in float says so.
        layers: tensors that it wrote.
        codes: compared; 0 where the profile has no arithmetic for it.
        distinct: different codes in the layer that has the most.
        different: of the simulation and of HTP.
        largest: difference of two codes.
    """

    operator: str
    layers: int
    codes: int
    distinct: int
    different: int
    largest: int

    def plus(self, other: Tally) -> Tally:
        """Both together."""
        return Tally(
            self.operator,
            self.layers + other.layers,
            self.codes + other.codes,
            max(self.distinct, other.distinct),
            self.different + other.different,
            max(self.largest, other.largest),
        )


def compare(
    model: onnx.ModelProto, contract: Contract, inputs: Mapping[str, Array]
) -> dict[str, Tally]:
    """A tally for each code tensor that the file names.

    Args:
        model: as exported; reals or codes come in.
        inputs: graph input to (N, ...).

    Raises:
        InputError: HTP's package is missing, or it refuses a node.
    """
    graph, written = read_graph(model), {name for node in model.graph.node for name in node.output}
    named = [n.output for n in graph.nodes if n.writes_codes and n.output in written]
    session = Session(model, {name: graph.qparams[name] for name in named})
    _, found = session.run(inputs)
    given = {name: array for name, array in inputs.items() if name in graph.qparams}
    computed = as_computed(graph, contract)
    tallies = _Fed(computed, contract, {**given, **found}, inputs).run()
    return {name: tally for name, tally in tallies.items() if name in graph.qparams}


class _Fed:
    """Nodes computed one by one on HTP's codes; on the simulation's where the file names none."""

    def __init__(
        self,
        graph: IntegerGraph,
        contract: Contract,
        codes: Mapping[str, Array],
        inputs: Mapping[str, Array],
    ) -> None:
        self.graph, self.contract, self.reals = graph, contract, dict(inputs)
        kinds = {node.name: f"{node.op_type}{IN_FLOAT}" for node in graph.floats}
        made = tensors_from_floats(graph)
        self.made_in_float = {tensor: kinds[name] for tensor, name in made.items()}
        known = {**graph.constants, **codes}
        self.codes = {name: self._tensor(name, array) for name, array in known.items()}

    def _tensor(self, name: str, codes: Array) -> Tensor:
        return torch.tensor(codes.astype("int64")).to(torch_dtype(self.graph.qparams[name].qtype))

    def run(self) -> dict[str, Tally]:
        """Every node in order: a tally for each tensor of codes."""
        tallies = dict[str, Tally]()
        for node in self.graph.nodes:
            if node.writes_codes:
                tallies[node.output] = self.tally(node)
            else:
                self.reals[node.output] = output_reals(
                    node, self.reals, self.codes, self.graph.qparams, self.contract
                )
        return tallies

    def tally(self, node: Node) -> Tally:
        operator = self.made_in_float.get(node.output) or _operator(node, self.graph)
        try:
            own = self._compute(node)
        except UnsupportedError:
            return Tally(operator, 1, 0, 0, 0, 0)
        if isinstance(node, Softmax) and not knows_rows(self.contract, own.shape):
            operator += IN_FLOAT
        found = self.codes.setdefault(node.output, own)
        apart = (own.long() - found.long()).abs()
        different, largest = int((apart > 0).sum()), int(apart.max())
        return Tally(operator, 1, own.numel(), len(found.unique()), different, largest)

    def _compute(self, node: Node) -> Tensor:
        out = self.graph.qparams[node.output]
        if isinstance(node, Quantize):
            codes = affine.quantize(self.reals[node.inputs[0]], out)
            low, high = node.bounds or (out.qtype.qmin, out.qtype.qmax)
            return self._tensor(node.output, codes).clamp(low, high)
        operands = [(self.codes[name], self.graph.qparams[name]) for name in node.inputs]
        return compute(node, operands, out, self.contract)


def _operator(node: Node, graph: IntegerGraph) -> str:
    """Its name, groups, and the widths of its codes where they are not 8."""
    grouped = isinstance(node, Linear) and node.op_type == "Conv" and node.geometry.groups > 1
    name = f"{node.form_name}, grouped" if grouped else node.op_type
    named = [tensor for tensor in (node.output, *node.inputs) if tensor in graph.qparams]
    bits = {"a": max((graph.qparams[tensor].qtype.bits for tensor in named), default=8)}
    if isinstance(node, Linear):
        bits["w"] = node.weight_qparams.qtype.bits
    others = [f"{kind}{width}" for kind, width in bits.items() if width != 8]
    return ", ".join([name, *others])


def merged(tallies: Iterable[Tally]) -> list[Tally]:
    """One for each operator, in the order of their first."""
    found = dict[str, Tally]()
    for tally in tallies:
        before = found.get(tally.operator)
        found[tally.operator] = tally if before is None else before.plus(tally)
    return list(found.values())
