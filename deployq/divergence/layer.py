"""One layer, its operands and its arithmetic: recomputed in parts, so that one part can change."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from deployq.arithmetic.contract import Contract, Form, Kind
from deployq.arithmetic.scales import layer_multiplier
from deployq.qgraph import IntegerGraph
from deployq.qgraph.nodes import Bounds, Linear, MatMul, Node
from deployq.qparams import QParams
from deployq.qtypes import QType
from deployq.simulator.biases import placed_bias
from deployq.simulator.operators import Operand, compute, finish
from deployq.simulator.sums import accumulate, accumulate_product

WIDE = QType(32, True)
"""Holds every code of 16 bits before it is saturated."""


@dataclass(frozen=True, eq=False)
class Sums:
    """Exact sums of products, without bias.

    Args:
        acc: int64.
        axis: of the channels.
        scales: of the two factors.
    """

    acc: Tensor
    axis: int
    scales: tuple[Any, Any]

    def along(self, channels: Tensor) -> Tensor:
        """(C,) numbers, broadcastable to the sums."""
        shape = [1] * self.acc.ndim
        shape[self.axis] = -1
        return channels.reshape(shape)


@dataclass(frozen=True, eq=False)
class Layer:
    """A node with what it reads, and the arithmetic that it is computed in.

    Args:
        node: of the file; operators that a container needs after it are part of it.
        operands: codes and parameters of what it reads.
        out: parameters of its output.
        contract: the arithmetic.
        sums: of a product; they outlive a change of what follows them.
    """

    node: Node
    operands: tuple[Operand, ...]
    out: QParams
    contract: Contract
    sums: Sums | None

    @classmethod
    def of(
        cls, node: Node, operands: tuple[Operand, ...], out: QParams, contract: Contract
    ) -> Layer:
        """The layer with its sums computed."""
        own = contract.for_codes(*(q.qtype.bits for _, q in operands))
        return cls(node, operands, out, own, _sums(node, operands))

    @property
    def form(self) -> Form:
        return self.contract.form(self.node.form_name)

    @property
    def bias(self) -> npt.NDArray[Any] | None:
        """Codes that are added to the sums."""
        if not isinstance(self.node, Linear) or self.sums is None:
            return None
        return placed_bias(self.node, self.sums.scales, self.contract).steps

    def codes(self) -> Tensor:
        """The output's codes, int64.

        Raises:
            DeployqError: the arithmetic cannot compute the layer.
        """
        if self.sums is None:
            return compute(self.node, self.operands, self.out, self.contract).long()
        return self.finished(self.with_bias(self.sums))

    def with_bias(self, sums: Sums) -> Tensor:
        """Finished sums, exact."""
        if self.bias is None:
            return sums.acc
        return sums.acc + sums.along(torch.tensor(self.bias).long())

    def finished(self, acc: Tensor) -> Tensor:
        """Codes of finished sums."""
        assert self.sums is not None
        sums, rest = self.sums, (self.out, self.contract, self.addend)
        return finish(self.node, acc, sums.scales, sums.axis, *rest).long()

    @property
    def addend(self) -> Operand | None:
        """What joins the sums of a layer; the second factor of a product is none."""
        joins = isinstance(self.node, Linear) and self.node.addend is not None
        return self.operands[1] if joins else None

    def wide(self) -> Tensor:
        """The output's codes before they are clipped, int64."""
        return self._unclipped(int(self.out.zero_point))

    def with_zero_after(self) -> Tensor:
        """The codes where the zero point is added to the rounded value, int64."""
        return self.clipped(self._unclipped(0) + int(self.out.zero_point))

    def _unclipped(self, zero_point: int) -> Tensor:
        out = QParams(WIDE, self.out.scale, np.asarray(zero_point))
        return replace(self, node=replace(self.node, bounds=None), out=out).codes()

    @property
    def multiplier(self) -> Tensor:
        """``s_x * s_w / s_y`` of a product as real numbers, float64, broadcastable to its sums."""
        assert self.sums is not None
        sums, form = self.sums, Form(Kind.EXACT)
        real = layer_multiplier(sums.acc.ndim, sums.axis, *sums.scales, self.out, form)
        return torch.from_numpy(np.asarray(real))

    @property
    def range(self) -> Bounds:
        """Lowest and highest code of the output's type."""
        return self.out.qtype.qmin, self.out.qtype.qmax

    def clipped(self, codes: Tensor) -> Tensor:
        """Codes inside the type and the bounds of a fused Relu or Clip."""
        codes = codes.clamp(*self.range)
        return codes if self.node.bounds is None else codes.clamp(*self.node.bounds)

    def with_form(self, form: Form) -> Layer:
        """The layer in another form."""
        by_op = {**self.contract.by_op, self.node.form_name: form}
        return replace(self, contract=replace(self.contract, by_op=by_op))


def _sums(node: Node, operands: tuple[Operand, ...]) -> Sums | None:
    if isinstance(node, Linear):
        (x, qx), *_ = operands
        acc, axis = accumulate(replace(node, bias=None), x, qx)
        return Sums(acc, axis, (qx.scale[()], node.weight_qparams.scale))
    if isinstance(node, MatMul):
        (a, qa), (b, qb) = operands
        return Sums(accumulate_product(a, qa, b, qb), -1, (qa.scale[()], qb.scale[()]))
    return None


def layer_node(graph: IntegerGraph, output: str) -> Node | None:
    """The node that computes a code tensor; a Clip on its codes is part of it.

    None where nothing of integers computes it.
    """
    nodes = {node.output: node for node in graph.nodes if node.writes_codes}
    node = nodes.get(output)
    if node is None or node.op_type != "Clip" or node.inputs[0] not in nodes:
        return node
    before = nodes[node.inputs[0]]
    return replace(before, output=output, bounds=_both(before.bounds, node.bounds))


def _both(one: Bounds | None, other: Bounds | None) -> Bounds | None:
    if one is None or other is None:
        return one or other
    return max(one[0], other[0]), min(one[1], other[1])
