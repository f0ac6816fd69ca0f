"""Constant rows beside computed ones become padding and a sum.

    cat([expand(token), x], 1)    becomes    pad(x, a row of zeros in front) + pad(token, behind)

A class token then stands where positions are added too (``merge_constants``), and the joint
tensor's codes are those of its rows, moved. Exact. Tokens that are one tensor of the model stay
that; others on one side of x are joined.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx

from deployq.graph.rewrites.build import aten, build, new_tensor, substitute
from deployq.graph.rewrites.expand_to_gather import EXPANDS
from deployq.graph.rewrites.rule import Rewrite, argument, calls
from deployq.graph.tensors import kin, read_tensor


@dataclass(frozen=True)
class Rows:
    """Rows that are the same for every sample.

    Args:
        read: of the tensor of the model.
        tensor: what is read.
        value: (1, rows, columns), expanded along all axes but the samples.
    """

    read: fx.Node
    tensor: Tensor
    value: Tensor

    @property
    def is_whole(self) -> bool:
        """The tensor has these rows as it is."""
        return self.tensor.shape == self.value.shape

    @property
    def is_tied(self) -> bool:
        """Several elements learn as one."""
        return self.tensor.requires_grad and self.tensor.numel() != self.value.numel()


def match(module: fx.GraphModule, node: fx.Node) -> bool:
    """One computed part among constant ones; those of a side learn, or none of them."""
    if not calls(node, aten.cat.default) or node.meta["val"].ndim != 3:
        return False
    parts, axis = _parts(node), int(argument(node, 1, "dim", 0)) % 3
    found = [_rows(module, part) for part in parts]
    constants = [rows for rows in found if rows is not None]
    if axis != 1 or len(parts) < 2 or len(constants) != len(parts) - 1:
        return False
    place = found.index(None)
    fixed = all(isinstance(size, int) for size in parts[place].meta["val"].shape[1:])
    return fixed and all(_fit([r for r in side if r]) for side in (found[:place], found[place:]))


def _parts(node: fx.Node) -> list[fx.Node]:
    parts: Any = argument(node, 0, "tensors")
    return list(parts)


def _rows(module: fx.GraphModule, part: fx.Node) -> Rows | None:
    """A tensor of the model, or one that is expanded over the samples."""
    read: Any = part.args[0] if calls(part, *EXPANDS) else part
    if read.op != "get_attr":
        return None
    tensor, sizes = read_tensor(module, read), part.meta["val"].shape[1:]
    single = tensor.ndim < 3 or tensor.shape[0] == 1
    if not single or not tensor.is_floating_point() or not all(isinstance(s, int) for s in sizes):
        return None
    return Rows(read, tensor, tensor.detach().expand(1, *sizes))


def _fit(side: Sequence[Rows]) -> bool:
    return not any(r.is_tied for r in side) and len({r.tensor.requires_grad for r in side}) < 2


def rewrite(module: fx.GraphModule, node: fx.Node) -> None:
    parts = _parts(node)
    found = [_rows(module, part) for part in parts]
    place = found.index(None)
    sides = [[rows for rows in side if rows] for side in (found[:place], found[place:])]
    before, after = (sum(rows.value.shape[1] for rows in side) for side in sides)
    rows = int(parts[place].meta["val"].shape[1])
    joined = _padded(node, parts[place], before, after)
    for side, pads in zip(sides, ((0, rows + after), (before + rows, 0)), strict=True):
        if side:
            constant = _padded(node, _joined(module, node, side), *pads)
            with node.graph.inserting_before(node):
                joined = node.graph.call_function(aten.add.Tensor, (joined, constant))
            joined.meta = dict(node.meta)
    substitute(node, joined)


def _padded(node: fx.Node, source: fx.Node, before: int, after: int) -> fx.Node:
    padded = build(node, aten.pad.default, source, [0, 0, before, after])
    padded.meta["part"] = "pad"
    return padded


def _joined(module: fx.GraphModule, node: fx.Node, side: Sequence[Rows]) -> fx.Node:
    """The rows of one side as one tensor of the model."""
    if len(side) == 1 and side[0].is_whole:
        return side[0].read
    value = kin(torch.cat([rows.value for rows in side], 1), *(rows.tensor for rows in side))
    return new_tensor(module, node, f"{side[0].read.target}_rows", value)


RULE = Rewrite("token to pad", match, rewrite)
