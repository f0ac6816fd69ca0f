"""Parity by law 12: code against code, layer by layer, under one contract at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from deployq.arithmetic.contract import QDQ, Contract
from deployq.data import Dataset
from deployq.graph.codes import evaluate_codes, evaluate_steps
from deployq.graph.preparation import PreparedModel
from deployq.qgraph import IntegerGraph
from deployq.qgraph.nodes import Dequantize, Move, Node, Pool, Quantize
from deployq.simulator import run_graph
from deployq.verifier.report import DECIDED_LSB, Parity
from deployq.verifier.tally import Tally, wanted_distinct
from deployq_exporters.runtimes.onnxruntime import Session

Array = npt.NDArray[Any]
CODES = ".codes"
"""A code tensor of a file is the reference's tensor of this name without the suffix."""

Progress = Callable[[str], None]


@dataclass
class _Comparison:
    """Running counts of one parity."""

    name: str
    contract: str
    exact: bool
    output: str | None
    tallies: dict[str, Tally] = field(default_factory=dict)
    images: int = 0
    decided: int = 0
    agree: int = 0
    ties: int = 0

    def add(
        self, tensor: str, wanted: int, reference: Array, found: Array, steps: Array | None = None
    ) -> None:
        tally = self.tallies.setdefault(tensor, Tally(tensor, wanted))
        tally.add(reference, found, steps)
        if tensor == self.output:
            self._top1(reference, found)

    def _top1(self, reference: Array, found: Array) -> None:
        """Agreement of the best class on images that are no tie."""
        if reference.ndim != 2 or reference.shape[1] < 2:
            return
        best = np.sort(reference.astype(np.int64), axis=1)[:, -2:]
        decided = best[:, 1] - best[:, 0] >= DECIDED_LSB
        same = reference.argmax(1) == found.argmax(1)
        self.decided += int(decided.sum())
        self.agree += int((same & decided).sum())
        self.ties += int((~decided).sum())

    def result(self) -> Parity:
        rows = tuple(tally.row() for tally in self.tallies.values())
        return Parity(
            self.name, self.contract, self.exact, rows, self.images, self.decided, self.agree,
            self.ties,
        )  # fmt: skip


def reference_against_simulator(
    prepared: PreparedModel,
    graph: IntegerGraph,
    contract: Contract,
    batches: Iterable[Dataset],
    progress: Progress,
) -> Parity:
    """The prepared model on codes against the simulation of the file, end to end."""
    result = _Comparison("reference = simulator", contract.name, True, output_tensor(graph))
    wanted = wanted_distinct(graph)
    for batch in batches:
        codes = evaluate_codes(prepared, contract, *tensors_of(prepared, batch))
        simulated = run_graph(graph, contract, batch.inputs).codes
        for name, reference in codes.items():
            found = simulated[name + CODES]
            result.add(name, wanted[name + CODES], reference.numpy(), found.numpy())
        result.images += len(batch)
        progress(result.name)
    return result.result()


def runtime_against_simulator(
    session: Session,
    graph: IntegerGraph,
    contract: Contract,
    batches: Iterable[Dataset],
    progress: Progress,
) -> tuple[Parity, ...]:
    """A runtime's kernels against the simulation under its contract.

    End to end, and per layer with each layer fed the codes that the runtime computed before it.
    Layers that the runtime left in float are compared apart, with the limits of runs in float.
    """
    integer = {n.output: _in_integers(n, session) for n in graph.nodes}
    whole = all(integer[name] for name in session.probes)
    output = output_tensor(graph)
    label = "runtime = simulator"
    end = _Comparison(f"{label}, end to end", contract.name, True, output)
    layers = _Comparison(f"{label}, layer by layer", contract.name, True, None)
    floats = _Comparison("runtime in float ~ simulator, layer by layer", contract.name, False, None)
    wanted = wanted_distinct(graph)
    for batch in batches:
        _, found = session.run(batch.inputs)
        simulated = run_graph(graph, contract, batch.inputs).codes
        forced = _forced(graph, found)
        same = all(np.array_equal(simulated[n].numpy(), codes) for n, codes in found.items())
        fed = simulated if same else run_graph(graph, contract, batch.inputs, forced=forced).codes
        for name, codes in found.items():
            tensor = name.removesuffix(CODES)
            end.add(tensor, wanted[name], simulated[name].numpy(), codes)
            part = layers if integer[name] else floats
            part.add(tensor, wanted[name], fed[name].numpy(), codes)
        for part in (end, layers, floats):
            part.images += len(batch)
        progress(end.name)
    parts = (end, layers) if whole else (layers, floats)
    return tuple(part.result() for part in parts if part.tallies)


def _in_integers(node: Node, session: Session) -> bool:
    """True for layers in integer kernels, for movement, and for the law-1 edge."""
    if isinstance(node, (Move, Quantize, Dequantize)):
        return True
    if isinstance(node, Pool) and node.op_type == "MaxPool":
        return True
    return session.placement.runs_in_integers(node.name)


def _forced(graph: IntegerGraph, found: Mapping[str, Array]) -> dict[str, torch.Tensor]:
    return {
        name: torch.from_numpy(codes.astype(graph.qparams[name].qtype.dtype))
        for name, codes in found.items()
    }


def float_run_against_reference(
    prepared: PreparedModel,
    session: Session,
    graph: IntegerGraph,
    batches: Iterable[Dataset],
    progress: Progress,
) -> Parity:
    """The un-optimised file, which computes in float, against the reference (law 12 b).

    Each layer of the reference is fed the codes that the run computed before it; the reference is
    in real arithmetic and tells how near a tie each differing code was.
    """
    name = "file un-optimised ~ reference, layer by layer"
    result = _Comparison(name, QDQ.name, False, output_tensor(graph))
    wanted = wanted_distinct(graph)
    for batch in batches:
        _, found = session.run(batch.inputs)
        forced = {n.removesuffix(CODES): t for n, t in _forced(graph, found).items()}
        evaluated = evaluate_steps(prepared, QDQ, *tensors_of(prepared, batch), forced=forced)
        for tensor, reference in evaluated.codes.items():
            steps = evaluated.steps.get(tensor)
            result.add(
                tensor, wanted[tensor + CODES], reference.numpy(), found[tensor + CODES],
                None if steps is None else steps.numpy(),
            )  # fmt: skip
        result.images += len(batch)
        progress(name)
    return result.result()


def tensors_of(prepared: PreparedModel, batch: Dataset) -> list[torch.Tensor]:
    """A batch as the model's positional inputs."""
    return [torch.from_numpy(np.array(batch.inputs[name])) for name in prepared.inputs]


def output_tensor(graph: IntegerGraph) -> str | None:
    """The tensor that holds the class codes: the first output's."""
    name = graph.outputs[0]
    for node in graph.nodes:
        if isinstance(node, Dequantize) and node.output == name:
            return node.inputs[0].removesuffix(CODES)
    return name.removesuffix(CODES)
