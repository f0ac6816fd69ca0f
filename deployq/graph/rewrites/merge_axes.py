"""reshape - permute - reshape through more than 4 axes: axes that stay together become one.

    (N, g, C/g, H, W) swap 1, 2    becomes    (N, g, C/g, H W) swap 1, 2

The codes move as before, and a target without tensors of rank 5 can hold them.
"""

from __future__ import annotations

import math

from torch import fx

from deployq.graph.rewrites.build import aten, build, static_shape, substitute
from deployq.graph.rewrites.rule import Rewrite, argument, calls

COMMON_RANK = 4
"""What every target holds: (N, C, H, W)."""


def match(module: fx.GraphModule, node: fx.Node) -> bool:
    if not calls(node, aten.permute.default, aten.transpose.int):
        return False
    before, users = node.all_input_nodes[0], list(node.users)
    if not calls(before, aten.reshape.default) or len(before.users) > 1 or len(users) != 1:
        return False
    rank = before.meta["val"].ndim
    if rank <= COMMON_RANK or not calls(users[0], aten.reshape.default):
        return False
    shapes = static_shape(before.meta["val"]), static_shape(users[0].meta["val"])
    return None not in shapes and len(_runs(permutation(node))) < rank


def permutation(node: fx.Node) -> list[int]:
    """Input axis of each output axis of a permute or transpose."""
    rank = node.meta["val"].ndim
    if calls(node, aten.permute.default):
        return [axis % rank for axis in argument(node, 1, "dims")]
    order, (a, b) = list(range(rank)), (int(axis) % rank for axis in node.args[1:3])  # type: ignore[arg-type] # transpose's axes are integers
    order[a], order[b] = b, a
    return order


def _runs(order: list[int]) -> list[list[int]]:
    """Input axes that follow each other on both sides, in output order."""
    runs: list[list[int]] = []
    for axis in order:
        if runs and runs[-1][-1] + 1 == axis:
            runs[-1].append(axis)
        else:
            runs.append([axis])
    return runs


def rewrite(module: fx.GraphModule, node: fx.Node) -> None:
    before, (after,) = node.all_input_nodes[0], list(node.users)
    sizes, runs = static_shape(before.meta["val"]), _runs(permutation(node))
    assert sizes is not None
    merged = [-1 if -1 in part else math.prod(part) for part in _sizes(sizes, sorted(runs))]
    narrow = build(node, aten.reshape.default, before.all_input_nodes[0], merged)
    order = [sorted(runs).index(run) for run in runs]
    moved = build(node, aten.permute.default, narrow, order)
    substitute(after, build(after, aten.reshape.default, moved, static_shape(after.meta["val"])))


def _sizes(sizes: list[int], runs: list[list[int]]) -> list[list[int]]:
    return [[sizes[axis] for axis in run] for run in runs]


RULE = Rewrite("merge axes", match, rewrite)
