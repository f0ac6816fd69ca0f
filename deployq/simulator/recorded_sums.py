"""The integer accumulators behind codes that a run recorded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from deployq.arithmetic.contract import Contract
from deployq.arithmetic.kernels.requantize import fit_accumulator
from deployq.qgraph.nodes import IntegerGraph, Linear, MatMul, Node
from deployq.simulator.biases import summed_layer
from deployq.simulator.operators import Operand
from deployq.simulator.sums import accumulate, accumulate_product


def total_sums(
    node: Node, operands: Sequence[Operand], contract: Contract
) -> tuple[Tensor, int] | None:
    """The exact finished sums of a node and the axis of their channels; None of one without sums.

    They hold the bias, unless the contract adds it behind the scale.
    """
    if isinstance(node, Linear):
        (x, qx), *_ = operands
        return accumulate(summed_layer(node, qx, contract), x, qx)
    if isinstance(node, MatMul):
        (a, qa), (b, qb) = operands
        return accumulate_product(a, qa, b, qb), -1
    return None


def held_sums(node: Node, operands: Sequence[Operand], contract: Contract) -> Tensor | None:
    """The same as the accumulator holds them, int64.

    Raises:
        AccumulatorOverflowError: one leaves the accumulator and the contract rejects it.
    """
    found = total_sums(node, operands, contract)
    if found is None:
        return None
    totals, axis = found
    return fit_accumulator(totals, contract.accumulator, node.name, channel_axis=axis)


def recorded_sums(
    graph: IntegerGraph, contract: Contract, codes: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """The held sums of every Conv, ConvTranspose, Gemm and MatMul, by the tensor that it writes.

    Args:
        codes: every code tensor of a run, but constants.
    """
    known = {name: torch.from_numpy(array) for name, array in graph.constants.items()} | dict(codes)
    sums = {}
    for node in graph.nodes:
        if not isinstance(node, Linear | MatMul):
            continue
        operands = [(known[name], graph.qparams[name]) for name in node.inputs]
        held = held_sums(node, operands, contract)
        if held is not None:
            sums[node.output] = held
    return sums
