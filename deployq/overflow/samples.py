"""The sums that samples make."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TypeAlias

import torch
from torch import Tensor

from deployq.arithmetic.contract import Accumulator, Contract, Overflow
from deployq.arithmetic.intervals import Interval
from deployq.data import Dataset
from deployq.qgraph import IntegerGraph
from deployq.qgraph.edges import feed
from deployq.qgraph.nodes import Linear, MatMul
from deployq.simulator import run_graph
from deployq.simulator.recorded_sums import total_sums

Sums: TypeAlias = dict[str, tuple[Interval, ...]]
UNLIMITED = Accumulator(64, Overflow.REJECT)


def sample_sums(graph: IntegerGraph, contract: Contract, data: Dataset, batch: int) -> Sums:
    """Least and greatest finished sum of every channel over all samples.

    The samples run under the contract's arithmetic, with an accumulator that holds every sum: what
    a layer would sum if none in front of it overflowed.

    Args:
        batch: samples that run at once.

    Returns:
        By output of a layer, an interval for each channel; of a product of codes, one for all.

    Raises:
        DeployqError: as :func:`deployq.simulator.run_graph`.
    """
    wide = replace(contract, accumulator=UNLIMITED)
    constants = {name: torch.from_numpy(codes) for name, codes in graph.constants.items()}
    sums: Sums = {}
    for part in data.batches(batch):
        computed = run_graph(graph, wide, feed(graph, part.inputs)).codes
        for node in graph.nodes:
            if isinstance(node, Linear | MatMul):
                found = _ends(node, {**constants, **computed}, graph, wide)
                before = sums.get(node.output, found)
                sums[node.output] = tuple(map(Interval.hull, before, found))
    return sums


def _ends(
    node: Linear | MatMul, codes: Mapping[str, Tensor], graph: IntegerGraph, contract: Contract
) -> tuple[Interval, ...]:
    operands = [(codes[name], graph.qparams[name]) for name in node.inputs]
    found = total_sums(node, operands, contract)
    assert found is not None
    sums, axis = found
    rows = sums.movedim(axis, 0).flatten(1) if isinstance(node, Linear) else sums.reshape(1, -1)
    low, high = rows.amin(1).tolist(), rows.amax(1).tolist()
    return tuple(Interval(*ends) for ends in zip(low, high, strict=True))
