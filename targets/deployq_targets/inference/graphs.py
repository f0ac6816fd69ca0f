"""What files show of [graph]: edges, sums of branches, shared parameters and stored codes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from deployq.qgraph.movement import READ
from deployq.qgraph.nodes import Dequantize, Float, Linear, Node, Rescale
from deployq_targets.inference.fact import Fact, Facts, NamedFile
from deployq_targets.inference.operators import runs_both_ways
from deployq_targets.words import Edges, Residual, UnlistedOps

JOINING = (*READ, "Concat", "MaxPool", "AveragePool", "GlobalAveragePool")
"""Operators that some targets run without a multiplier."""


def graph_facts(files: Sequence[NamedFile]) -> Facts:
    """Rules on the graph as a whole."""
    both = runs_both_ways(files)
    unlisted = UnlistedOps.REFUSE if both is None else UnlistedOps.FLOAT
    shown = "no other operator is in the files" if both is None else f"{both.shown}, in float"
    facts = {
        "graph.unlisted_ops": Fact(unlisted.value, shown),
        "graph.io": _edges(files),
        "graph.unique_initializers": _own_initializers(files),
    }
    residual, same = _residual(files), _same_parameters(files)
    if residual is not None:
        facts["graph.residual"] = residual
    if same.value:
        facts["graph.same_qparams"] = same
    return facts


def _edges(files: Sequence[NamedFile]) -> Fact:
    for named in files:
        for name in (*named.file.graph.inputs, *named.file.graph.outputs):
            if name not in named.file.graph.qparams:
                return Fact(Edges.FLOAT.value, named.at(name))
    return Fact(Edges.INTEGER.value, "every input and output is codes")


def _own_initializers(files: Sequence[NamedFile]) -> Fact:
    for named in files:
        read: set[str] = set()
        for border in named.file.borders:
            if border.stored and border.tensor in read:
                return Fact(False, named.at(f"{border.tensor} has two readers"))
            read.add(border.tensor)
    return Fact(True, "every stored tensor has one reader")


def _residual(files: Sequence[NamedFile]) -> Fact | None:
    """Where sums of two branches have codes; None where there is no such sum."""
    sums = [(named, node) for named in files for node in named.file.graph.nodes
            if node.op_type == "Add"]  # fmt: skip
    half = [named.at(node.name) for named, node in sums if _reads_reals_of_codes(named, node)]
    half += [named.at(node.name) for named in files for node in named.file.graph.nodes
             if isinstance(node, Linear) and node.addend is not None]  # fmt: skip
    layers = [
        named.at(node.name)
        for named, node in sums
        if not isinstance(node, Float)
        and any(hasattr(named.file.makers.get(name), "weight") for name in node.inputs)
    ]
    if half and layers:
        return Fact(Residual.SKIP_PREFERRED.value, f"{half[0]} on one, {layers[0]} on both")
    if half:
        return Fact(Residual.Q_SKIP_ONLY.value, half[0])
    on_codes = [named.at(node.name) for named, node in sums if not isinstance(node, Float)]
    return Fact(Residual.Q_BOTH.value, on_codes[0]) if on_codes else None


def _reads_reals_of_codes(named: NamedFile, node: Node) -> bool:
    read = {n.output for n in named.file.graph.nodes if isinstance(n, Dequantize)}
    return isinstance(node, Float) and bool(read & set(node.inputs))


def _same_parameters(files: Sequence[NamedFile]) -> Fact:
    """Operators of :data:`JOINING` whose operands always have the parameters of the result."""
    kept: dict[str, str] = {}
    broken: set[str] = set()
    for named in files:
        for where, op_type, equal in _joins(named):
            if equal:
                kept.setdefault(op_type, where)
            else:
                broken.add(op_type)
    found = [op_type for op_type in kept if op_type not in broken]
    return Fact(found, "; ".join(f"{op_type}: {kept[op_type]}" for op_type in found))


def _joins(named: NamedFile) -> Iterator[tuple[str, str, bool]]:
    """Where, operator, and whether all operands have the parameters of the result."""
    qparams, makers = named.file.graph.qparams, named.file.makers
    for name, node in makers.items():
        made = makers.get(node.inputs[0]) if isinstance(node, Rescale) else node
        if made is not None and made.op_type in JOINING:
            out = qparams[name]
            grids = [qparams[operand] for operand in made.inputs if operand in qparams]
            same = all(
                np.array_equal(grid.scale, out.scale)
                and np.array_equal(grid.zero_point, out.zero_point)
                for grid in grids
            )
            yield named.at(made.name), made.op_type, same
