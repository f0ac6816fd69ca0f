"""The worst case of MatMul of two code tensors, of which one may be constant."""

from __future__ import annotations

from functools import reduce
from itertools import product

import numpy as np

from deployq.arithmetic.intervals import Interval
from deployq.arithmetic.rounding import Int64Array
from deployq.arithmetic.sum_bounds import channel_bounds
from deployq.overflow.facts import Channel, Layer
from deployq.overflow.subject import Subject
from deployq.qgraph.nodes import MatMul


def product_layer(node: MatMul, subject: Subject) -> Layer:
    """One bound for all channels.

    It may be out of reach where both operands are one tensor, or both are constant.
    """
    free = tuple(name for name in node.inputs if name not in subject.graph.constants)
    shapes = subject.shapes
    channel = _over_rows(node, subject) if len(free) == 1 else _over_ranges(node, subject)
    return Layer(
        node.name, node.op_type, node.output,
        {name: subject.ranges[name] for name in free},
        None if shapes is None else {name: shapes[name] for name in free},
        attained=len(free) == 1 or len(set(free)) == 2,
        assumed=False,
        channels=() if channel is None else (channel,),
    )  # fmt: skip


def constant_rows(node: MatMul, subject: Subject) -> Int64Array:
    """(..., K): what multiplies the activation in each sum, less its zero point.

    Rows of a constant left operand, (..., M, K); columns of a right one, (..., N, K).
    """
    left, right = node.inputs
    name = left if left in subject.graph.constants else right
    codes = subject.graph.constants[name].astype(np.int64)
    centred = codes - int(subject.graph.qparams[name].zero_point)
    return centred if name == left else np.swapaxes(centred, -1, -2)


def _over_rows(node: MatMul, subject: Subject) -> Channel:
    """The hull of the bounds of all rows: each is reached."""
    rows = constant_rows(node, subject)
    rows = rows.reshape(-1, rows.shape[-1], 1, 1)
    (name,) = (name for name in node.inputs if name not in subject.graph.constants)
    further = [int(subject.folded(node))] * len(rows)
    bounds = channel_bounds(subject.values(name), rows, [0] * len(rows), further)
    return Channel(
        None,
        reduce(Interval.hull, (bound.finished for bound in bounds)),
        reduce(Interval.hull, (bound.partial for bound in bounds)),
    )


def _over_ranges(node: MatMul, subject: Subject) -> Channel | None:
    """As many times the largest product as are summed; None where that is not known."""
    if subject.shapes is None:
        return None
    length = subject.shapes[node.inputs[0]][-1]
    ends = ((values.low, values.high) for values in map(subject.values, node.inputs))
    products = [a * b for a, b in product(*ends)]
    low, high, last = length * min(products), length * max(products), int(subject.folded(node))
    finished = Interval(low, high)
    return Channel(
        None, finished, Interval(min(low, 0) + min(last, 0), max(high, 0) + max(last, 0))
    )
