"""Which codes each tensor can hold, as far as the file alone says."""

from __future__ import annotations

from functools import reduce

import numpy as np

from deployq import affine
from deployq.arithmetic.contract import QDQ, Form, Kind
from deployq.arithmetic.intervals import Interval
from deployq.arithmetic.oracle.lookup import BY_CONTRACT, MAX_TABLE_BITS, lookup_table
from deployq.arithmetic.requant_words import Functions
from deployq.qgraph.nodes import Concat, IntegerGraph, Lookup, Move, Node, Pool
from deployq.qparams import QParams

ROUNDINGS = (
    QDQ.default,
    *(Form(Kind.EXACT, functions=f) for f in (Functions.RECIPROCAL, Functions.FLOAT32)),
)
"""Of a table whose values no contract changes."""


def code_ranges(graph: IntegerGraph) -> dict[str, Interval]:
    """Every code tensor to the least and the greatest code that it can hold.

    A fused Relu or Clip narrows a range, and so does a table; moved codes, maxima and parts that
    are joined unchanged keep theirs; constants have their own. What else computes, and a function
    that the contract decides on, may give every code of its type.
    """
    found = {name: _whole(graph.qparams[name]) for name in graph.inputs if name in graph.qparams}
    found |= {
        name: Interval(int(codes.min()), int(codes.max()))
        for name, codes in graph.constants.items()
        if codes.size
    }
    for node in graph.nodes:
        if node.writes_codes:
            given = _given(graph, node, found)
            found[node.output] = given if node.bounds is None else given.clamped(*node.bounds)
    return found


def pad_code(node: Move, qparams: QParams) -> int:
    """The code that a Pad adds: the one stated, or that of its real constant."""
    if node.attributes["value"] is not None:
        return int(node.attributes["value"])
    return int(affine.quantize(np.asarray(node.attributes["real"], np.float32), qparams))


def _given(graph: IntegerGraph, node: Node, known: dict[str, Interval]) -> Interval:
    """What a node computes before its own bounds."""
    if isinstance(node, Lookup) and node.op_type not in BY_CONTRACT:
        return _looked_up(graph, node, known)
    if not _keeps_codes(graph, node):
        return _whole(graph.qparams[node.output])
    ranges = [known[name] for name in node.inputs]
    if isinstance(node, Move) and node.op_type == "Pad" and node.attributes["mode"] == "constant":
        added = pad_code(node, graph.qparams[node.output])
        ranges.append(Interval(added, added))
    return reduce(Interval.hull, ranges)


def _looked_up(graph: IntegerGraph, node: Lookup, known: dict[str, Interval]) -> Interval:
    """The ends of its tables, by whichever rounding a contract has, where the operand can be; all
    codes where there is no table.
    """
    (name,), out = node.inputs, graph.qparams[node.output]
    given, codes = graph.qparams[name], known[name]
    if given.qtype.bits > MAX_TABLE_BITS or given.scale.ndim or out.scale.ndim:
        return _whole(out)
    first = given.qtype.qmin
    entries = np.stack([
        lookup_table(node.op_type, given, out, params=node.params, form=form)
        for form in ROUNDINGS
    ])[:, codes.low - first : codes.high - first + 1]  # fmt: skip
    return Interval(int(entries.min()), int(entries.max()))


def _keeps_codes(graph: IntegerGraph, node: Node) -> bool:
    """True where the output has the operands' codes, and what a Pad adds to a tensor's one grid."""
    out = graph.qparams[node.output]
    if isinstance(node, Concat):
        return all(graph.qparams[name] == out for name in node.inputs)
    if node.op_type == "Pad" and out.scale.ndim:
        return False
    return isinstance(node, Move) or (isinstance(node, Pool) and node.op_type == "MaxPool")


def _whole(qparams: QParams) -> Interval:
    return Interval(qparams.qtype.qmin, qparams.qtype.qmax)
