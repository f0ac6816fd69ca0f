"""One node under one contract: finished sums and codes, as the simulator computes them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from deployq.arithmetic.contract import Contract, Form
from deployq.arithmetic.kernels.codes import torch_dtype
from deployq.arithmetic.rounding import Float64Array, Int64Array
from deployq.qgraph.nodes import Linear, Node
from deployq.qparams import IntArray, QParams
from deployq.qtypes import QType
from deployq.simulator.biases import placed_bias, summed_layer
from deployq.simulator.operators import compute, finish
from deployq.simulator.recorded_sums import held_sums, total_sums
from deployq.simulator.sums import channel_axis

WIDE = QType(32, signed=True)
"""Codes that no output saturates to."""


@dataclass(frozen=True, eq=False)
class Bench:
    """A node taken out of its graph, to be run on any codes.

    Args:
        inputs, out: parameters of its code tensors.
    """

    node: Node
    inputs: tuple[QParams, ...]
    out: QParams
    contract: Contract

    @property
    def form(self) -> Form:
        """The form of its operator."""
        return self.contract.form(self.node.form_name)

    @cached_property
    def unclipped(self) -> Bench:
        """The same, but no range clips the output."""
        by_op = {**self.contract.by_op, self.node.form_name: replace(self.form, code_bits=None)}
        return replace(
            self,
            node=replace(self.node, bounds=None),
            out=replace(self.out, qtype=WIDE),
            contract=replace(self.contract, by_op=by_op),
        )

    @cached_property
    def summed(self) -> Node:
        """The node with the bias that its sums hold."""
        node = self.node
        return (
            summed_layer(node, self.inputs[0], self.contract) if isinstance(node, Linear) else node
        )

    @property
    def late(self) -> Float64Array | None:
        """(O,) reals of a bias that is added after the scale."""
        if not isinstance(self.node, Linear):
            return None
        return placed_bias(self.node, self._scales(), self.contract).reals

    def output(self, codes: Sequence[IntArray]) -> IntArray:
        """Codes of the output, int64."""
        return _array(compute(self.node, self._operands(codes), self.out, self.contract))

    def totals(self, codes: Sequence[IntArray]) -> Int64Array | None:
        """Finished sums in 64 bits; None for operators without."""
        found = total_sums(self.summed, self._operands(codes), self.contract)
        return None if found is None else _array(found[0])

    def sums(self, codes: Sequence[IntArray]) -> Int64Array | None:
        """Finished sums as the accumulator holds them; None for operators without.

        Raises:
            AccumulatorOverflowError: one leaves the accumulator and the contract rejects it.
        """
        held = held_sums(self.summed, self._operands(codes), self.contract)
        return None if held is None else _array(held)

    def channel_axis(self, rank: int) -> int:
        """Axis of the output channels of sums of ``rank``."""
        axis = channel_axis(self.node) if isinstance(self.node, Linear) else -1
        return axis % rank

    def scaled(self, sums: Int64Array) -> IntArray:
        """Codes of (P, C) finished sums, one column a channel, int64."""
        acc, scales = torch.from_numpy(sums), self._scales()
        return _array(finish(self.node, acc, scales, 1, self.out, self.contract))

    def _scales(self) -> tuple[Any, Any]:
        node = self.node
        factor = node.weight_qparams if isinstance(node, Linear) else self.inputs[1]
        return self.inputs[0].scale[()], factor.scale

    def _operands(self, codes: Sequence[IntArray]) -> list[tuple[Tensor, QParams]]:
        pairs = zip(codes, self.inputs, strict=True)
        return [(torch.tensor(c.astype(np.int64)).to(torch_dtype(q.qtype)), q) for c, q in pairs]


def _array(tensor: Tensor) -> Int64Array:
    array: Int64Array = tensor.numpy().astype(np.int64)
    return array
