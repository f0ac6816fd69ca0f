"""The number of samples stays free, and samples never mix.

Every activation has exactly one symbolic dimension: the batch, or the batch times a number that a
Reshape merged into it. In a file written for one sample, sample n owns the n-th part of it; what
would break this is refused, so each sample of a batch is computed as it would be alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

from torch import SymInt, Tensor

from deployq.graph.onnx_import.node import OnnxNode

Size = int | SymInt


def one_sample(size: Any) -> int:
    """What a dimension is for a batch of one."""
    if not isinstance(size, SymInt):
        return int(size)
    expression = size.node.expr
    return int(expression.subs({symbol: 1 for symbol in expression.free_symbols}))


def is_batch(size: Any) -> bool:
    """True for a dimension that grows with the batch."""
    return isinstance(size, SymInt) and bool(size.node.expr.free_symbols)


def batch_axes(shape: Sequence[Any]) -> list[int]:
    """The axes that grow with the batch."""
    return [axis for axis, size in enumerate(shape) if is_batch(size)]


def own_axis(node: OnnxNode, x: Tensor, axis: int) -> int:
    """``axis``, counted from 0, of an operator that works along it.

    Raises:
        UnsupportedError: no such axis, or the batch's.
    """
    if not -x.ndim <= axis < x.ndim:
        raise node.refuse("an axis exists", f"axis {axis} of rank {x.ndim}", f"0 to {x.ndim - 1}")
    if is_batch(x.shape[axis]):
        raise mixing(node, f"axis {axis}, which is the batch")
    return axis % x.ndim


def mixing(node: OnnxNode, found: str) -> Exception:
    """The error for an operator that would make one sample depend on another."""
    return node.refuse(
        "samples of a batch do not mix",
        found,
        "operators along the other axes",
        "export the network with a dynamic batch, and keep the batch as the first dimension",
    )


def check_samples(node: OnnxNode, operands: Sequence[Any], results: Sequence[Tensor]) -> None:
    """A result of activations has one batch axis.

    Raises:
        UnsupportedError: it has none or several.
    """
    if not any(isinstance(v, Tensor) and batch_axes(v.shape) for v in operands):
        return
    for result in results:
        if len(batch_axes(result.shape)) != 1:
            raise mixing(node, f"a result of shape {tuple(map(str, result.shape))}")


def reshaped(node: OnnxNode, shape: Sequence[Size], target: Sequence[Size]) -> list[int]:
    """The shape that a Reshape gives a batch, -1 for the dimension that holds the batch.

    A file with a free batch says where it goes, by -1 or a computed size. A file for one sample
    often does not; there a sample stays in one piece where the batch has as many elements before
    it as it had.

    Args:
        shape: of the input, with one batch axis.
        target: for the whole tensor, without zeros; at most one -1.

    Raises:
        UnsupportedError: there is no place for the batch.
    """
    sample, wanted = [one_sample(d) for d in shape], [one_sample(d) for d in target]
    rest = prod(d for d in wanted if d != -1)
    if -1 in wanted and rest:
        wanted[wanted.index(-1)] = prod(sample) // rest
    stated = batch_axes(target)
    if node.free_batch:
        stated = stated or [k for k, size in enumerate(target) if not is_batch(size) and size == -1]
    else:
        stated = _kept_in_one_piece(shape, sample, wanted, stated)
    if prod(wanted) != prod(sample) or len(stated) != 1:
        raise _no_place(node, shape, target)
    wanted[stated[0]] = -1
    return wanted


def _kept_in_one_piece(
    shape: Sequence[Size], sample: list[int], wanted: list[int], stated: list[int]
) -> list[int]:
    """The stated axis if it keeps samples in one piece; else the axis that does."""
    (axis,) = batch_axes(shape)
    before = prod(sample[:axis])
    places = [k for k in range(len(wanted)) if prod(wanted[:k]) == before]
    if stated:
        return [k for k in stated if k in places]
    return _place_for(axis, wanted, places)


def _place_for(axis: int, wanted: list[int], places: list[int]) -> list[int]:
    """Where a shape that was written for one sample has its batch: a 1, best where it was."""
    ones = [k for k in places if wanted[k] == 1]
    return [axis] if axis in (ones or places) else ones[:1] or places


def _no_place(node: OnnxNode, shape: Sequence[Size], target: Sequence[Size]) -> Exception:
    return node.refuse(
        "a Reshape leaves the batch a dimension of its own",
        f"({', '.join(map(str, shape))}) to ({', '.join(map(str, target))})",
        "a shape with the batch where it was, such as (0, -1)",
        "export the network with a dynamic batch",
    )
