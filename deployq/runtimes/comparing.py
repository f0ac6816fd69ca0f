"""What a runtime computed beside the simulation of its file and beside the reference."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch

from deployq import affine
from deployq.arithmetic.contract import Contract
from deployq.qgraph import IntegerGraph
from deployq.qgraph.edges import feed, output_codes, output_qparams
from deployq.runtimes.job import Array
from deployq.runtimes.row import Codes
from deployq.simulator import run_graph

Arrays = Mapping[str, Array]


def reals_of(graph: IntegerGraph, outputs: Arrays) -> dict[str, Array]:
    """Outputs as reals, where a file gives codes."""
    grids = output_qparams(graph)
    return {
        name: array
        if array.dtype.kind == "f"
        else affine.dequantize(array.astype(np.int64), grids[name])
        for name, array in outputs.items()
    }


def codes_apart(found: Array, wanted: Array, scale: float) -> Codes:
    """Two arrays of reals on one grid, in steps of its scale."""
    steps = np.rint(np.abs(found.astype(np.float64) - wanted) / scale)
    return Codes(int(steps.size), int((steps > 0).sum()), int(steps.max(initial=0)))


def against_simulation(
    graph: IntegerGraph, contract: Contract, inputs: Arrays, outputs: Arrays, batch: int
) -> Codes | None:
    """Output codes beside those of the simulation of the same file; None where something in it
    counts as in float.

    Args:
        outputs: reals, (N, ...).
    """
    apart, count = Codes(0, 0, 0), len(next(iter(inputs.values())))
    grids = dict(zip(graph.outputs, output_codes(graph), strict=True))
    for start in range(0, count, batch):
        rows = slice(start, start + batch)
        fed = feed(graph, {name: array[rows] for name, array in inputs.items()})
        simulation = run_graph(graph, contract, fed)
        if simulation.floats:
            return None
        for name, tensor in grids.items():
            qparams = graph.qparams[tensor]
            wanted = affine.dequantize(simulation.codes[tensor].numpy(), qparams)
            one = codes_apart(outputs[name][rows], wanted, float(qparams.scale))
            apart = Codes(
                apart.compared + one.compared,
                apart.different + one.different,
                max(apart.largest, one.largest),
            )
    return apart


def first_apart(graph: IntegerGraph, contract: Contract, inputs: Arrays, inner: Arrays) -> str:
    """The first tensor that the simulation computes otherwise from what the runtime computed
    before it, with the first such code; empty where there is none.

    Args:
        inner: the runtime's codes of the same samples, int64.
    """
    known = {name: torch.from_numpy(np.array(codes)) for name, codes in inner.items()}
    own = run_graph(graph, contract, feed(graph, inputs), forced=known).codes
    for node in graph.nodes:
        name = node.output
        if name in known and bool((own[name] != known[name]).any()):
            index = tuple(int(i) for i in torch.nonzero(own[name] != known[name])[0])
            found, wanted = int(known[name][index]), int(own[name][index])
            return f"{name}{list(index)}: {found}, the contract says {wanted}"
    return ""
