"""A chain of reshapes and permutations becomes the shortest one that moves alike.

    reshape, permute, reshape, transpose, reshape    becomes    reshape, permute, reshape

nn.MultiheadAttention and windowed attention take their heads apart in many small steps. Axes that
stay together become one, so that a target without tensors of rank 5 can hold them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import fx

from deployq.graph.rewrites.axes import MOVES, arranged, movement_chain
from deployq.graph.rewrites.build import build, substitute
from deployq.graph.rewrites.rule import Rewrite, calls

COMMON_RANK = 4
"""What every target holds: (N, C, H, W)."""
Steps = list[tuple[Any, list[int]]]


def match(module: fx.GraphModule, node: fx.Node) -> bool:
    return _shorter(node) is not None


def _shorter(node: fx.Node) -> tuple[fx.Node, Steps] | None:
    """Source and new steps of a chain that ends here, where they are better."""
    if not calls(node, *MOVES) or _continues(node):
        return None
    source, chain = movement_chain(node, shared=False)
    axes = arranged(source, chain) if len(chain) > 1 else None
    if axes is None:
        return None
    steps = axes.steps()
    if not steps and _is_returned(node) and (source.op == "placeholder" or _is_returned(source)):
        steps = [axes.reshape()]  # an output is a tensor of its own
    ranks = [len(args) for _, args in steps]
    old, new = _highest(source, chain), max([COMMON_RANK, *ranks])
    better = (len(steps), new) < (len(chain), old) if new <= old else False
    return (source, steps) if better and len(steps) <= len(chain) else None


def _is_returned(node: fx.Node) -> bool:
    return any(user.op == "output" for user in node.users)


def _continues(node: fx.Node) -> bool:
    return len(node.users) == 1 and calls(next(iter(node.users)), *MOVES)


def _highest(source: fx.Node, chain: Sequence[fx.Node]) -> int:
    return max(COMMON_RANK, *(int(n.meta["val"].ndim) for n in (source, *chain)))


def rewrite(module: fx.GraphModule, node: fx.Node) -> None:
    found = _shorter(node)
    assert found is not None
    moved, steps = found
    for target, args in steps:
        moved = build(node, target, moved, args)
    if steps:
        substitute(node, moved)
    else:
        node.replace_all_uses_with(moved)
        node.graph.erase_node(node)


RULE = Rewrite("collapse movements", match, rewrite)
