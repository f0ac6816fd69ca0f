"""One index of an axis that movements made: the slice goes first.

    squeeze(slice(permute(reshape(x, (N, L, 3, h, d)), ...)))
        becomes    permute(reshape(slice(x, 2, i h d, (i + 1) h d), (N, L, h, d)), ...)

The joint query, key and value of an attention are taken apart in this way. A target without tensors
of rank 5 can then hold them.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import fx

from deployq.graph.rewrites.axes import Axes, arranged, movement_chain
from deployq.graph.rewrites.build import aten, build, substitute
from deployq.graph.rewrites.collapse_movements import COMMON_RANK
from deployq.graph.rewrites.rule import Rewrite, argument, calls


@dataclass(frozen=True)
class Pick:
    """What the chain takes.

    Args:
        source: node before the movements.
        axis: of the source, which begins with the factor that is picked from.
        start, block: first element along it and how many.
        axes: what happens to the rest.
    """

    source: fx.Node
    axis: int
    start: int
    block: int
    axes: Axes


def match(module: fx.GraphModule, node: fx.Node) -> bool:
    return _pick(node) is not None


def _pick(node: fx.Node) -> Pick | None:
    part = node.all_input_nodes[0] if calls(node, aten.squeeze.dim) else None
    if part is None or not calls(part, aten.slice.Tensor):
        return None
    source, chain = movement_chain(part.all_input_nodes[0], shared=True)
    axes = arranged(source, chain) if chain else None
    dim, start, end = (argument(part, i, "") for i in (1, 2, 3))
    if axes is None or argument(node, 1, "dim") != dim or end != start + 1:
        return None
    if max(n.meta["val"].ndim for n in chain) <= min(COMMON_RANK, source.meta["val"].ndim):
        return None
    return _first_of_axis(axes, source, dim % len(axes.result), start)


def _first_of_axis(axes: Axes, source: fx.Node, dim: int, start: int) -> Pick | None:
    """The pick, where the picked factor is the first of those that one axis became."""
    picked = axes.result[dim]
    own = [i for i, axis in enumerate(axes.source) if len(axis) > 1 and picked == axis[:1]]
    if not own:
        return None
    rest = axes.source[own[0]][1:]
    block = axes.size(rest)
    sources = tuple(rest if i == own[0] else axis for i, axis in enumerate(axes.source))
    results = tuple(axis for i, axis in enumerate(axes.result) if i != dim)
    return Pick(source, own[0], start * block, block, Axes(axes.sizes, sources, results))


def rewrite(module: fx.GraphModule, node: fx.Node) -> None:
    pick = _pick(node)
    assert pick is not None
    end = pick.start + pick.block
    moved = build(node, aten.slice.Tensor, pick.source, pick.axis, pick.start, end)
    for target, args in pick.axes.steps():
        moved = build(node, target, moved, args)
    substitute(node, moved)


RULE = Rewrite("pick before reshape", match, rewrite)
