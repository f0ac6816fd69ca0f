"""What files show of [activation]."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from deployq.qparams import QParams
from deployq_targets.inference.fact import Fact, Facts, NamedFile, Seen
from deployq_targets.inference.numbers import (
    granularity,
    scale_facts,
    type_facts,
    zero_point_facts,
)

FIXED = ("Softmax", "Sigmoid", "Tanh", "HardSigmoid")
"""Operators whose output has a range of its own, whatever the data."""


def activation_facts(files: Sequence[NamedFile]) -> Facts:
    """Computed tensors."""
    grids = [
        (named.at(name), named.file.graph.qparams[name])
        for named in files for name in named.file.activations
    ]  # fmt: skip
    facts = {
        **type_facts("activation", [(where, grid.qtype) for where, grid in grids]),
        **zero_point_facts("activation", grids),
        "activation.granularity": granularity(grids),
        **scale_facts("activation", grids),
    }
    for key, names in (("first_bits", "inputs"), ("last_bits", "outputs")):
        facts |= _edge_bits(files, key, names, facts["activation.bits"].value)
    return facts | _fixed_outputs(files)


def _edge_bits(files: Sequence[NamedFile], key: str, ends: str, widths: Sequence[int]) -> Facts:
    """The one width of all first, or of all last code tensors, where the others have more."""
    seen = [
        Seen(named.file.graph.qparams[name].qtype.bits, named.at(name))
        for named in files for name in _edge_tensors(named, ends)
    ]  # fmt: skip
    found = {one.value for one in seen}
    if len(widths) < 2 or len(found) != 1:
        return {}
    return {f"activation.io.{key}": Fact(found.pop(), seen[0].where)}


def _edge_tensors(named: NamedFile, ends: str) -> set[str]:
    """Codes at the edges: graph inputs and outputs, or what lies behind their Q or DQ."""
    graph = named.file.graph
    if ends == "inputs":
        read = {n.output for n in graph.nodes if set(n.inputs) & set(graph.inputs)
                and n.op_type == "QuantizeLinear"}  # fmt: skip
        return (read | set(graph.inputs)) & set(graph.qparams)
    made = {n.inputs[0] for n in graph.nodes if n.output in graph.outputs}
    return (made | set(graph.outputs)) & set(graph.qparams)


def _fixed_outputs(files: Sequence[NamedFile]) -> Facts:
    """Operators that always have one output grid, of a scale that is no data's."""
    grids: dict[tuple[str, str], list[tuple[str, QParams]]] = {}
    for named in files:
        for name, node in named.file.makers.items():
            if node.op_type in FIXED:
                grid = named.file.graph.qparams[name]
                place = grids.setdefault((node.op_type, grid.qtype.name), [])
                place.append((named.at(node.name), grid))
    facts: Facts = {}
    for (op_type, type_name), found in grids.items():
        where, first = found[0]
        if (
            not first.scale.ndim
            and np.frexp(first.scale)[0] == 0.5
            and all(grid == first for _, grid in found)
        ):
            value = {"scale": float(first.scale), "zero_point": int(first.zero_point)}
            facts[f"activation.fixed_output.{op_type}.{type_name}"] = Fact(value, where)
    return facts
