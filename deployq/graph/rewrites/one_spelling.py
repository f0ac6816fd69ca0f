"""Calls with two names in ATen get the common one: multiply becomes mul, true_divide div, ..."""

from __future__ import annotations

from typing import Any

import torch
from torch import fx

from deployq.graph.rewrites.build import aten
from deployq.graph.rewrites.rule import Rewrite, calls

SAME: dict[Any, Any] = {
    aten.multiply.Tensor: aten.mul.Tensor,
    aten.multiply.Scalar: aten.mul.Tensor,
    aten.mul.Scalar: aten.mul.Tensor,
    aten.divide.Tensor: aten.div.Tensor,
    aten.div.Scalar: aten.div.Tensor,
    aten.true_divide.Tensor: aten.div.Tensor,
    aten.subtract.Tensor: aten.sub.Tensor,
    aten.sub.Scalar: aten.sub.Tensor,
    aten.add.Scalar: aten.add.Tensor,
    aten.concat.default: aten.cat.default,
    aten.concatenate.default: aten.cat.default,
    aten.negative.default: aten.neg.default,
    aten.absolute.default: aten.abs.default,
    aten.swapaxes.default: aten.transpose.int,
    aten.clamp_min.default: aten.clamp.default,
}
OF_TRUTHS: dict[Any, Any] = {
    aten.bitwise_not.default: aten.logical_not.default,
    aten.bitwise_and.Tensor: aten.logical_and.default,
    aten.bitwise_or.Tensor: aten.logical_or.default,
    aten.__and__.Tensor: aten.logical_and.default,
    aten.__or__.Tensor: aten.logical_or.default,
}
"""Of integers they are something else."""


def match(module: fx.GraphModule, node: fx.Node) -> bool:
    truths = calls(node, *OF_TRUTHS) and node.meta["val"].dtype == torch.bool
    return truths or calls(node, *SAME)


def rewrite(module: fx.GraphModule, node: fx.Node) -> None:
    node.target = {**SAME, **OF_TRUTHS}[node.target]


RULE = Rewrite("one spelling", match, rewrite)
