"""One node under one contract: finished sums and codes, as the simulator computes them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from deployq.arithmetic.contract import Contract, Form
from deployq.arithmetic.kernels.codes import torch_dtype
from deployq.arithmetic.kernels.requantize import fit_accumulator
from deployq.arithmetic.rounding import Int64Array
from deployq.qgraph.nodes import Linear, MatMul, Node
from deployq.qparams import IntArray, QParams
from deployq.qtypes import QType
from deployq.simulator.operators import compute, finish
from deployq.simulator.sums import accumulate, accumulate_product, channel_axis

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

    def output(self, codes: Sequence[IntArray]) -> IntArray:
        """Codes of the output, int64."""
        return _array(compute(self.node, self._operands(codes), self.out, self.contract))

    def unclipped(self, codes: Sequence[IntArray]) -> IntArray:
        """The same before the output's range clips them, int64."""
        node, wide = self._without_clip()
        return _array(compute(node, self._operands(codes), wide, self.contract))

    def totals(self, codes: Sequence[IntArray]) -> Int64Array | None:
        """Finished sums in 64 bits; None for operators without."""
        operands = self._operands(codes)
        if isinstance(self.node, Linear):
            return _array(accumulate(self.node, *operands[0])[0])
        if isinstance(self.node, MatMul):
            (a, qa), (b, qb) = operands
            return _array(accumulate_product(a, qa, b, qb))
        return None

    def sums(self, codes: Sequence[IntArray]) -> Int64Array | None:
        """Finished sums as the accumulator holds them; None for operators without.

        Raises:
            AccumulatorOverflowError: one leaves the accumulator and the contract rejects it.
        """
        totals = self.totals(codes)
        if totals is None:
            return None
        acc, name = torch.from_numpy(totals), self.node.name
        axis = self.channel_axis(totals.ndim)
        return _array(fit_accumulator(acc, self.contract.accumulator, name, channel_axis=axis))

    def channel_axis(self, rank: int) -> int:
        """Axis of the output channels of sums of ``rank``."""
        axis = channel_axis(self.node) if isinstance(self.node, Linear) else -1
        return axis % rank

    def scaled(self, sums: Int64Array, *, clipped: bool = True) -> IntArray:
        """Codes of (P, C) finished sums, one column a channel, int64."""
        node, out = (self.node, self.out) if clipped else self._without_clip()
        factor = node.weight_qparams if isinstance(node, Linear) else self.inputs[1]
        scales = self.inputs[0].scale[()], factor.scale
        return _array(finish(node, torch.from_numpy(sums), scales, 1, out, self.contract))

    def _without_clip(self) -> tuple[Node, QParams]:
        return replace(self.node, bounds=None), replace(self.out, qtype=WIDE)

    def _operands(self, codes: Sequence[IntArray]) -> list[tuple[Tensor, QParams]]:
        pairs = zip(codes, self.inputs, strict=True)
        return [(torch.tensor(c.astype(np.int64)).to(torch_dtype(q.qtype)), q) for c, q in pairs]


def _array(tensor: Tensor) -> Int64Array:
    array: Int64Array = tensor.numpy().astype(np.int64)
    return array
