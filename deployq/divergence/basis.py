"""The side whose arithmetic is changed, what it reads, and the codes that a change must give.

A contract states the arithmetic of a reference and of a simulation: these are changed, A before B.
Of two files in a runtime it is A's. All codes are on the zero points of the changed side's file.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch

from deployq.arithmetic.contract import QDQ, Contract
from deployq.arithmetic.kernels.codes import torch_dtype
from deployq.divergence.feeding import run_fed
from deployq.divergence.file_bias import real_bias
from deployq.divergence.layer import Layer, layer_node
from deployq.divergence.matching import Matched
from deployq.divergence.runtime_side import InRuntime
from deployq.divergence.sides import Array, Codes, Side, named_tensors
from deployq.divergence.substitutions import Case
from deployq.errors import DeployqError
from deployq.qgraph.edges import feed
from deployq.qgraph.gates import gates_joined
from deployq.qgraph.nodes import Bounds, Dequantize, Float, Linear, Node, Quantize
from deployq.simulator.operators import Operand
from deployq_exporters.dialects import DIALECTS
from deployq_targets import load_profile


@dataclass(frozen=True, eq=False)
class Fed:
    """One batch.

    Args:
        read: codes that layers read, by the file's names: A's where the sides share the tensor.
        unchanged: what the changed side computes of them, by tensor.
        wanted: what the other side computes of them.
        unoptimised: what the float kernels of ONNX Runtime do.
    """

    read: Mapping[str, Array]
    unchanged: Codes
    wanted: Codes
    unoptimised: Codes


class Basis:
    """Who is changed, and in which file its layers stand.

    Args:
        a, b: the sides.
        matched: their tensors.
    """

    def __init__(self, a: Side, b: Side, matched: Matched) -> None:
        self.a, self.b, self.matched = a, b, matched
        self.base, self.other = (a, b) if a.stated or not b.stated else (b, a)
        self.graph = self.base.file.graph
        self.names = named_tensors(self.graph)
        self._float = self._float_kernels()

    def node(self, tensor: str) -> Node | None:
        """The integer operator that computes a tensor; None where nothing of integers does."""
        name = self.names.get(tensor)
        if name is None:
            return None
        computed = gates_joined(self.graph, self.base.contract_of(tensor) or QDQ)
        node = layer_node(computed, name)
        return None if isinstance(node, Quantize | Dequantize | Float) else node

    def feed(self, batch: Codes) -> Fed:
        """Run both sides on A's codes."""
        codes = self.a.run(batch)
        fed = run_fed(self.b, self.matched, batch, codes)
        of_a, of_b = self._on_file(codes), self._on_file(fed)
        of_base, of_other = (of_a, of_b) if self.base is self.a else (of_b, of_a)
        shared = {tensor: of_a[tensor] for tensor in self.matched.shifts if tensor in of_a}
        known = of_base | shared
        read = {name: known[tensor] for tensor, name in self.names.items() if tensor in known}
        edges = feed(self.graph, batch).items()
        inputs = {n: x.astype(np.int64) for n, x in edges if n in self.graph.qparams}
        return Fed(
            {**self.graph.constants, **inputs, **read},
            of_base,
            of_other,
            self._unoptimised(batch, shared),
        )

    def case(self, tensor: str, node: Node, fed: Fed) -> Case:
        """The layer of a tensor, ready for changes.

        Raises:
            KeyError: it reads codes that neither side gives.
        """
        contract = self.base.contract_of(tensor)
        operands = tuple(self._operand(fed.read[name], name) for name in node.inputs)
        out = self.graph.qparams[self.names[tensor]]
        layer = Layer.of(node, operands, out, contract or QDQ)
        found = fed.unoptimised.get(tensor)
        other = self._other_node(tensor)
        return Case(
            layer,
            kernels=None if contract is not None else _runtime_contract(),
            unoptimised=None if found is None else torch.from_numpy(found),
            other_bias=other.bias if isinstance(other, Linear) else None,
            other_bounds=self._bounds(tensor, other),
            real_bias=self._real_bias(node),
        )

    def _operand(self, codes: Array, name: str) -> Operand:
        qparams = self.graph.qparams[name]
        return torch.from_numpy(codes).to(torch_dtype(qparams.qtype)), qparams

    def _on_file(self, codes: Codes) -> dict[str, Array]:
        """Codes on A's zero points, on those of the changed side's file."""
        there, here = self.graph.qparams, self.a.tensors
        return {
            tensor: array + int(there[self.names[tensor]].zero_point - here[tensor].zero_point)
            for tensor, array in codes.items()
            if tensor in self.names
        }

    def _other_node(self, tensor: str) -> Node | None:
        graph = self.other.file.graph
        names = named_tensors(graph)
        return layer_node(graph, names[tensor]) if tensor in names else None

    def _bounds(self, tensor: str, other: Node | None) -> Bounds | None:
        if other is None or other.bounds is None:
            return None
        graph = self.other.file.graph
        there = int(graph.qparams[named_tensors(graph)[tensor]].zero_point)
        shift = int(self.graph.qparams[self.names[tensor]].zero_point) - there
        return other.bounds[0] + shift, other.bounds[1] + shift

    def _real_bias(self, node: Node) -> Array | None:
        if not isinstance(node, Linear):
            return None
        scale = self.graph.qparams[node.inputs[0]].scale * node.weight_qparams.scale
        files = self.base.file.model, self.other.file.model
        found = (real_bias(model, node.name) for model in files)
        reals = next((bias for bias in found if bias is not None), None)
        return None if reals is None else reals / scale

    def _float_kernels(self) -> InRuntime | None:
        """The changed side's file un-optimised, where the other side is a runtime; None where it
        cannot be loaded, or the changed side is just that.
        """
        unoptimised = isinstance(self.base, InRuntime) and not self.base.optimised
        if self.other.stated or unoptimised:
            return None
        try:
            return InRuntime(self.base.label, self.base.file, optimised=False)
        except DeployqError:
            return None

    def _unoptimised(self, batch: Codes, shared: Codes) -> dict[str, Array]:
        if self._float is None:
            return {}
        try:
            return self._float.run(batch, shared)
        except DeployqError:
            self._float = None
            return {}


def _runtime_contract() -> Contract:
    return load_profile(DIALECTS["onnxruntime"].contract).contract()
