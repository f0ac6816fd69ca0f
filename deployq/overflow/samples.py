"""The sums that samples make."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from deployq.arithmetic.contract import Accumulator, Contract, Overflow
from deployq.arithmetic.intervals import Interval
from deployq.data import Dataset
from deployq.qgraph import IntegerGraph
from deployq.qgraph.edges import feed
from deployq.qgraph.nodes import Linear, MatMul
from deployq.simulator import run_graph
from deployq.simulator.sums import accumulate, accumulate_product

UNLIMITED = Accumulator(64, Overflow.REJECT)


@dataclass(frozen=True, eq=False)
class Samples:
    """What samples showed.

    Args:
        sums: by output of a layer: one interval for each channel, one for all of a MatMul.
        shapes: of every code tensor for one batch, constants included.
    """

    sums: Mapping[str, tuple[Interval, ...]]
    shapes: Mapping[str, tuple[int, ...]]


def sample_sums(graph: IntegerGraph, contract: Contract, data: Dataset, batch: int) -> Samples:
    """Least and greatest finished sum of every channel over all samples.

    The samples run under the contract's arithmetic, with an accumulator that holds every sum: what
    a layer would sum if none in front of it overflowed.

    Raises:
        DeployqError: as :func:`deployq.simulator.run_graph`.
    """
    wide = replace(contract, accumulator=UNLIMITED)
    sums: dict[str, tuple[Interval, ...]] = {}
    shapes = {name: codes.shape for name, codes in graph.constants.items()}
    for part in data.batches(batch):
        computed = run_graph(graph, wide, feed(graph, part.inputs)).codes
        shapes |= {name: tuple(codes.shape) for name, codes in computed.items()}
        codes = {n: torch.from_numpy(c) for n, c in graph.constants.items()} | dict(computed)
        for node in graph.nodes:
            if isinstance(node, Linear | MatMul):
                found = _ends(node, codes, graph)
                before = sums.get(node.output, found)
                sums[node.output] = tuple(map(Interval.hull, before, found))
    return Samples(sums, shapes)


def _ends(
    node: Linear | MatMul, codes: Mapping[str, Tensor], graph: IntegerGraph
) -> tuple[Interval, ...]:
    operands = [(codes[name], graph.qparams[name]) for name in node.inputs]
    if isinstance(node, MatMul):
        rows = accumulate_product(*operands[0], *operands[1]).reshape(1, -1)
    else:
        sums, axis = accumulate(node, *operands[0])
        rows = sums.movedim(axis, 0).flatten(1)
    low, high = rows.amin(1).tolist(), rows.amax(1).tolist()
    return tuple(Interval(*ends) for ends in zip(low, high, strict=True))
