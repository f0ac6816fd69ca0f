"""How a chain of movements arranges the axes of its source.

Every size is a product of *factors*; a reshape splits and joins them, a permutation orders them.
The batch is a factor that stays whole.

    (N, T, 3hd) -> (N, T, 3, h, d) -> (3, N, h, T, d)
        source    [N], [T], [3, h, d]
        result    [3], [N], [h], [T], [d]
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, fx

from deployq.graph.rewrites.build import aten
from deployq.graph.rewrites.rule import argument, calls

BATCH = -1
"""Size of the factor that is symbolic."""
RESHAPES = (
    aten.reshape.default, aten.view.default, aten._unsafe_view.default, aten.unflatten.int,
    aten.reshape_as.default, aten.view_as.default,
    aten.flatten.using_ints, aten.squeeze.dim, aten.squeeze.dims, aten.unsqueeze.default,
)  # fmt: skip
PERMUTES = (aten.permute.default, aten.transpose.int)
MOVES = (*RESHAPES, *PERMUTES)

Groups = tuple[tuple[int, ...], ...]
"""Factors of each axis."""


@dataclass(frozen=True)
class Axes:
    """Factors and their places.

    Args:
        sizes: of the factors, by number; :data:`BATCH` for the symbolic one.
        source: factors of each axis of the source.
        result: factors of each axis of the result; an axis of one has none.
    """

    sizes: Mapping[int, int]
    source: Groups
    result: Groups

    @classmethod
    def of(cls, value: Tensor) -> Axes | None:
        """Of a tensor that has not moved; None where two sizes are symbolic, or one is 0."""
        sizes = {
            axis: size if isinstance(size, int) else BATCH
            for axis, size in enumerate(value.shape)
            if not isinstance(size, int) or size != 1
        }
        if [*sizes.values()].count(BATCH) > 1 or 0 in sizes.values():
            return None
        groups = tuple((axis,) if axis in sizes else () for axis in range(value.ndim))
        return cls(sizes, groups, groups)

    @property
    def order(self) -> tuple[int, ...]:
        """Factors as the result has them."""
        return tuple(factor for axis in self.result for factor in axis)

    @property
    def origin(self) -> tuple[int, ...]:
        """Factors as the source has them."""
        return tuple(factor for axis in self.source for factor in axis)

    def size(self, axis: Sequence[int]) -> int:
        """Elements along an axis; negative for multiples of the batch."""
        return math.prod(self.sizes[factor] for factor in axis)

    def permuted(self, order: Sequence[int]) -> Axes:
        """Axes of the result in another order."""
        return replace(self, result=tuple(self.result[axis] for axis in order))

    def reshaped(self, sizes: Sequence[int]) -> Axes | None:
        """The result with other sizes, negative for multiples of the batch.

        Returns:
            None where a size takes a part of a factor that does not divide it.
        """
        now, left, result = self, list(self.order), list[tuple[int, ...]]()
        for size in sizes:
            axis = list[int]()
            while now.size(axis) != size:
                if not left:
                    return None
                found = now._taken(left, size, now.size(axis))
                if found is None:
                    return None
                now, left = found
                axis.append(left.pop(0))
            result.append(tuple(axis))
        return None if left else replace(now, result=tuple(result))

    def _taken(self, left: list[int], size: int, have: int) -> tuple[Axes, list[int]] | None:
        """The factors that are left, the first of them split where an axis needs a part of it."""
        first, needed = self.sizes[left[0]], abs(size) // abs(have)
        if abs(size) % abs(have) or (first == BATCH and (size > 0 or have < 0)):
            return None
        if first == BATCH or (needed % first == 0 and needed > 1):
            return self, left
        if needed < 2 or first % needed:
            return None
        new = max(self.sizes) + 1
        sizes = {**self.sizes, left[0]: needed, new: first // needed}
        source = tuple(_with(axis, left[0], new) for axis in self.source)
        return Axes(sizes, source, self.result), [left[0], new, *left[1:]]

    def runs(self) -> list[list[int]]:
        """Factors that follow each other in source and result, in the order of the result."""
        runs, place = list[list[int]](), {f: i for i, f in enumerate(self.origin)}
        for factor in self.order:
            if runs and place[runs[-1][-1]] + 1 == place[factor]:
                runs[-1].append(factor)
            else:
                runs.append([factor])
        return runs

    def steps(self) -> list[tuple[Any, list[int]]]:
        """The fewest movements that arrange so: reshape, permute, reshape, each where needed."""
        groups = sorted(self.runs(), key=lambda run: self.origin.index(run[0]))
        order = [groups.index(run) for run in self.runs()]
        if order == sorted(order):
            same = self.sizes_of(self.source) == self.sizes_of(self.result)
            return [] if same else [self.reshape()]
        found: list[tuple[Any, list[int]]] = []
        before, after = tuple(map(tuple, groups)), tuple(map(tuple, self.runs()))
        if self.sizes_of(before) != self.sizes_of(self.source):
            found.append(self.reshape(before))
        found.append((aten.permute.default, order))
        if self.sizes_of(after) != self.sizes_of(self.result):
            found.append(self.reshape())
        return found

    def sizes_of(self, groups: Groups) -> list[int]:
        """Size of each axis."""
        return [self.size(axis) for axis in groups]

    def reshape(self, groups: Groups | None = None) -> tuple[Any, list[int]]:
        """To these axes, or to those of the result."""
        groups = self.result if groups is None else groups
        return aten.reshape.default, [max(size, BATCH) for size in self.sizes_of(groups)]


def _with(axis: tuple[int, ...], factor: int, new: int) -> tuple[int, ...]:
    """An axis in which a factor is followed by another."""
    return tuple(g for f in axis for g in ((f, new) if f == factor else (f,)))


def movement_chain(node: fx.Node, *, shared: bool) -> tuple[fx.Node, list[fx.Node]]:
    """What moves up to a node, and from where.

    Args:
        node: the last of the chain, or what it starts from.
        shared: whether nodes with further readers are part of it.

    Returns:
        The source, and the chain in its order.
    """
    chain = list[fx.Node]()
    while calls(node, *MOVES) and (shared or not chain or len(node.users) == 1):
        chain.insert(0, node)
        node = node.all_input_nodes[0]
    return node, chain


def arranged(source: fx.Node, chain: Sequence[fx.Node]) -> Axes | None:
    """What a chain makes of its source's axes; None where factors cannot say it."""
    axes = Axes.of(source.meta["val"])
    for node in chain:
        if axes is None:
            return None
        if calls(node, *PERMUTES):
            axes = axes.permuted(permutation(node))
        else:
            sizes = _known_sizes(node, source)
            axes = None if sizes is None else axes.reshaped(sizes)
    return axes


def permutation(node: fx.Node) -> list[int]:
    """Input axis of each output axis of a permute or transpose."""
    rank = node.meta["val"].ndim
    if calls(node, aten.permute.default):
        return [axis % rank for axis in argument(node, 1, "dims")]
    order, (a, b) = list(range(rank)), (int(axis) % rank for axis in node.args[1:3])  # type: ignore[arg-type] # transpose's axes are integers
    order[a], order[b] = b, a
    return order


def _known_sizes(node: fx.Node, source: fx.Node) -> list[int] | None:
    """Sizes of a reshape, negative for multiples of the batch of the source."""
    batch = next((s for s in source.meta["val"].shape if not isinstance(s, int)), None)
    found = list[int]()
    for size in node.meta["val"].shape:
        if isinstance(size, int):
            found.append(size)
            continue
        times = None if batch is None else _times(size, batch)
        if times is None:
            return None
        found.append(-times)
    return found


def _times(size: torch.SymInt, batch: torch.SymInt) -> int | None:
    """How many batches a symbolic size is."""
    ratio = size.node.expr / batch.node.expr
    return int(ratio) if ratio.is_Integer and ratio > 0 else None
