"""The integer interpreter: every node of an IntegerGraph under one contract's arithmetic.

What the file leaves in float runs in float32, in ONNX Runtime, but for what the contract has in
integers (``qgraph.row_norms``).

It reads nothing but the file's integers and the contract's words, and knows nothing of how the file
was made. The reference on codes (``deployq.graph.codes``) shares the kernels and nothing else.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from deployq.arithmetic.contract import Contract
from deployq.arithmetic.kernels.codes import quantize, torch_dtype
from deployq.arithmetic.kernels.pieces import in_pieces
from deployq.arithmetic.row_operators import knows_rows
from deployq.errors import InputError
from deployq.qgraph.as_computed import as_computed
from deployq.qgraph.liveness import last_readers
from deployq.qgraph.nodes import Float, IntegerGraph, Node, Quantize, Softmax
from deployq.qgraph.row_norms import rows_on_codes
from deployq.qparams import QParams
from deployq.simulator.fit import most_elements
from deployq.simulator.operators import compute
from deployq.simulator.reals import output_reals

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Simulation:
    """What one run computed.

    Args:
        codes: every code tensor that is kept, but constants, by name, (N, ...) integers, in graph
            order: as computed, before any is forced.
        outputs: graph outputs by name: float32, or codes where the file ends in codes.
        floats: names of the operators that ran in float32, or count so: their codes are not known
            of the target.
        sums: the finished sums of each weighted layer and product as the accumulator holds them,
            int64, by the tensor that it writes; none where they were not asked for.
    """

    codes: Mapping[str, Tensor]
    outputs: Mapping[str, Array]
    floats: tuple[str, ...] = ()
    sums: Mapping[str, Tensor] = field(default_factory=dict)


def run_graph(
    graph: IntegerGraph,
    contract: Contract,
    inputs: Mapping[str, Array],
    *,
    forced: Mapping[str, Tensor] | None = None,
    keep: Collection[str] | None = None,
) -> Simulation:
    """Compute every code tensor of a graph.

    Args:
        graph: from ``deployq.qgraph.read_graph``.
        contract: the arithmetic.
        inputs: graph input name to float32 (or codes, where the file takes codes), (N, ...).
        forced: code tensor name to codes that replace the computed ones after they are recorded,
            so that each node can be fed what another run computed.
        keep: the code tensors that are recorded; None for all. The others are given up after their
            last reader.

    Raises:
        InputError: an input is missing, is no codes of its type or is too small for a window; a
            forced tensor is not in the graph or has another shape.
        AccumulatorOverflowError: a sum leaves the contract's accumulator and overflow is reject.
        UnsupportedError: the contract has no form for an operator.
        QuantizationError: a form cannot express a multiplier.
    """
    forced, keep = forced or {}, graph.qparams if keep is None else keep
    graph = as_computed(rows_on_codes(graph, contract), contract)
    _check_names(graph, inputs, forced)
    shapes = [inputs[name].shape for name in graph.inputs]
    run = _Run(graph, contract, forced, keep, shapes)
    for name in graph.inputs:
        run.take(name, inputs[name])
    last = last_readers(graph)
    for number, node in enumerate(graph.nodes):
        run.step(node)
        run.forget(name for name in {*node.inputs, node.output} if last.get(name, number) == number)
    outputs = {name: run.output(name) for name in graph.outputs}
    names = tuple(n.name for n in graph.nodes if isinstance(n, Float) or n.name in run.unknown)
    return Simulation(run.recorded, outputs, names)


class _Run:
    """State of one run: codes as computed, codes as the next nodes read them, and reals."""

    def __init__(
        self,
        graph: IntegerGraph,
        contract: Contract,
        forced: Mapping[str, Tensor],
        keep: Collection[str],
        shapes: Sequence[tuple[int, ...]],
    ) -> None:
        self.graph, self.contract, self.forced, self.keep = graph, contract, forced, keep
        self.recorded: dict[str, Tensor] = {}
        self.fed = {n: _as_tensor(c, graph.qparams[n]) for n, c in graph.constants.items()}
        self.reals: dict[str, Array] = {}
        self.unknown = set[str]()
        self.most = most_elements(shapes)

    def take(self, name: str, array: Array) -> None:
        """A graph input, reals or codes."""
        if name in self.graph.qparams:
            self._record(name, _input_codes(name, array, self.graph.qparams[name]))
        else:
            self.reals[name] = array

    def step(self, node: Node) -> None:
        """One node; Quantize and Dequantize are the borders to the reals."""
        qparams = self.graph.qparams
        if not node.writes_codes:
            self.reals[node.output] = output_reals(
                node, self.reals, self.fed, qparams, self.contract, self.most
            )
        elif isinstance(node, Quantize):
            quantized = _quantized(self.reals[node.inputs[0]], qparams[node.output])
            bounds = node.bounds
            self._record(node.output, quantized if bounds is None else quantized.clamp(*bounds))
        else:
            codes = [(self.fed[name], qparams[name]) for name in node.inputs]
            computed = compute(node, codes, qparams[node.output], self.contract, self.most)
            self._record(node.output, computed)
            if isinstance(node, Softmax) and not knows_rows(self.contract, computed.shape):
                self.unknown.add(node.name)

    def _record(self, name: str, codes: Tensor) -> None:
        if name in self.keep:
            self.recorded[name] = codes
        self.fed[name] = _forced(name, codes, self.forced)

    def forget(self, names: Iterable[str]) -> None:
        """Tensors that no later node reads."""
        for name in names:
            self.fed.pop(name, None)
            self.reals.pop(name, None)

    def output(self, name: str) -> Array:
        """A graph output, float32 or codes in their NumPy type."""
        if name in self.reals:
            return self.reals[name]
        return self.fed[name].numpy().astype(self.graph.qparams[name].qtype.dtype)


def _check_names(
    graph: IntegerGraph, inputs: Mapping[str, Array], forced: Mapping[str, Tensor]
) -> None:
    for name in graph.inputs:
        if name not in inputs:
            raise InputError(
                f"input {name}",
                "every graph input needs an array",
                found=", ".join(inputs),
                allowed=", ".join(graph.inputs),
                next_step=f"add {name} to the inputs",
            )
    for name in forced:
        if name not in graph.qparams or name in graph.constants:
            raise InputError(
                f"forced tensor {name}",
                "only computed codes of the graph can be forced",
                found=name,
                allowed=", ".join(set(graph.qparams) - set(graph.constants)),
                next_step="compare the names of the two graphs",
            )


def _forced(name: str, codes: Tensor, forced: Mapping[str, Tensor]) -> Tensor:
    if name not in forced:
        return codes
    if forced[name].shape != codes.shape:
        raise InputError(
            f"forced tensor {name}",
            "forced codes have the shape of the computed ones",
            found=str(tuple(forced[name].shape)),
            allowed=str(tuple(codes.shape)),
        )
    return forced[name].to(codes.dtype)


def _input_codes(name: str, codes: Array, qparams: QParams) -> Tensor:
    low, high = qparams.qtype.qmin, qparams.qtype.qmax
    if codes.dtype.kind not in "iu" or ((codes < low) | (codes > high)).any():
        raise InputError(
            f"input {name}",
            "this graph input takes codes",
            found=f"{codes.dtype} array",
            allowed=f"integers in {low}..{high}",
            next_step="quantize the array first",
        )
    return _as_tensor(codes, qparams)


def _quantized(reals: Array, qparams: QParams) -> Tensor:
    there = torch.from_numpy(np.require(reals, requirements=["C", "W"]))
    if not there.ndim:
        return quantize(there, qparams)
    lines = there.reshape(-1, there.shape[-1])
    return in_pieces(lambda piece: quantize(piece, qparams), lines.shape[1], lines).view(
        there.shape
    )


def _as_tensor(codes: Array, qparams: QParams) -> Tensor:
    return torch.from_numpy(np.asarray(codes, np.int64)).to(torch_dtype(qparams.qtype))
