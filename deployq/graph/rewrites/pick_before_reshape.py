"""One index of an axis that a reshape made, behind a permutation: the slice goes first.

    squeeze(slice(permute(reshape(x, (N, L, 3, h, d)), ...)))
        becomes    permute(reshape(slice(x, 2, i h d, (i + 1) h d), (N, L, h, d)), ...)

The joint query, key and value of an attention are taken apart in this way. A target without tensors
of rank 5 can then hold them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import fx

from deployq.graph.rewrites.build import aten, build, static_shape, substitute
from deployq.graph.rewrites.merge_axes import COMMON_RANK, permutation
from deployq.graph.rewrites.rule import Rewrite, argument, calls


@dataclass(frozen=True)
class Pick:
    """What the chain takes.

    Args:
        source: node before the reshape.
        axis: of the source, which the reshape splits.
        start, block: first element along it and how many.
        sizes: of the reshape, without the axis that is picked from.
        order: of the permutation, without it.
    """

    source: fx.Node
    axis: int
    start: int
    block: int
    sizes: list[int]
    order: list[int]


def match(module: fx.GraphModule, node: fx.Node) -> bool:
    return _pick(node) is not None


def _pick(node: fx.Node) -> Pick | None:
    chain = _chain(node)
    if chain is None:
        return None
    reshape, permute, part = chain
    source, order = reshape.all_input_nodes[0], permutation(permute)
    before, sizes = (static_shape(n.meta["val"]) for n in (source, reshape))
    moved, start, end = (argument(part, i, "") for i in (1, 2, 3))
    if before is None or sizes is None or argument(node, 1, "dim") != moved or end != start + 1:
        return None
    axis = order[moved]  # of the reshape; it is the first of those that one axis became
    factors = len(sizes) - len(before) + 1
    made = sizes[axis : axis + factors]
    if sizes[:axis] + sizes[axis + factors :] != before[:axis] + before[axis + 1 :] or -1 in made:
        return None
    block = math.prod(made[1:])
    left = [a - (a > axis) for a in order if a != axis]
    return Pick(source, axis, start * block, block, sizes[:axis] + sizes[axis + 1 :], left)


def _chain(node: fx.Node) -> tuple[fx.Node, fx.Node, fx.Node] | None:
    """Reshape, permutation and slice in front of a squeeze, if this is what stands there."""
    targets = aten.slice.Tensor, aten.permute.default, aten.reshape.default
    if not calls(node, aten.squeeze.dim):
        return None
    found = [node]
    for target in targets:
        found.append(found[-1].all_input_nodes[0])
        if not calls(found[-1], target):
            return None
    _, part, permute, reshape = found
    return (reshape, permute, part) if reshape.meta["val"].ndim > COMMON_RANK else None


def rewrite(module: fx.GraphModule, node: fx.Node) -> None:
    pick = _pick(node)
    assert pick is not None
    end = pick.start + pick.block
    part = build(node, aten.slice.Tensor, pick.source, pick.axis, pick.start, end)
    shaped = build(node, aten.reshape.default, part, pick.sizes)
    substitute(node, build(node, aten.permute.default, shaped, pick.order))


RULE = Rewrite("pick before reshape", match, rewrite)
