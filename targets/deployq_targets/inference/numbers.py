"""What files show of [activation] and [weight]: types, zero points, scales, what shares them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from deployq.qgraph.nodes import Linear, MatMul
from deployq.qparams import PerTensor, QParams
from deployq.qtypes import QType
from deployq_targets.checks.weights import layers
from deployq_targets.inference.fact import (
    Fact,
    Facts,
    NamedFile,
    Seen,
    greatest,
    least,
    listed,
    span,
)
from deployq_targets.tensors import Axis, zero_points
from deployq_targets.words import ScaleForm, Sharing, Symmetry, ZeroPointWord

Grids = list[tuple[str, QParams]]
"""Where, and the parameters there."""

AXES: dict[str, Axis] = {"Conv": 0, "ConvTranspose": 1, "MatMul": -1, "Gemm": "n"}
"""Axis of the output channels in the file."""

FIXED = ("Softmax", "Sigmoid", "Tanh", "HardSigmoid")
"""Operators whose output has a range of its own, whatever the data."""


def activation_facts(files: Sequence[NamedFile]) -> Facts:
    """Computed tensors."""
    grids = [
        (named.at(name), named.file.graph.qparams[name])
        for named in files for name in named.file.activations
    ]  # fmt: skip
    facts = {
        **_types("activation", [(where, grid.qtype) for where, grid in grids]),
        **_zero_points("activation", grids),
        "activation.granularity": _granularity(grids),
        **_scales("activation", grids),
    }
    for key, names in (("first_bits", "inputs"), ("last_bits", "outputs")):
        facts |= _edge_bits(files, key, names, facts["activation.bits"].value)
    return facts | _fixed_outputs(files)


def weight_facts(files: Sequence[NamedFile]) -> Facts:
    """Constant operands of layers; none where the files have no layer on codes."""
    found = [(named.at(n.name), n) for named in files for n in layers(named.file)]
    products = [(named.at(n.name), n) for named in files for n in named.file.graph.nodes
                if isinstance(n, MatMul)]  # fmt: skip
    shown = products[0][0] if products else "every layer"
    constant = {"weight.constant": Fact(not products, shown)}
    if not found:
        return constant
    grids = [(where, node.weight_qparams) for where, node in found]
    widths = listed(Seen(grid.qtype.bits, where) for where, grid in grids)
    return constant | {
        **_types("weight", [(where, grid.qtype) for where, grid in grids]),
        **_lowest(found),
        **_zero_points("weight", grids),
        "weight.granularity": _granularity(grids),
        **_axes(found),
        **_scales("weight", grids),
        "weight.bits_per_layer": Fact(len(widths.value) > 1, widths.shown),
        **_edge_layer_bits(files, widths.value),
    }


def _types(section: str, found: Iterable[tuple[str, QType]]) -> Facts:
    seen = list(found)
    return {
        f"{section}.bits": listed(Seen(qtype.bits, where) for where, qtype in seen),
        f"{section}.types": listed(Seen(qtype.name, where) for where, qtype in seen),
    }


def _lowest(found: Iterable[tuple[str, Linear]]) -> Facts:
    """The lowest code by width, where no layer uses that of its type."""
    facts: Facts = {}
    lowest: dict[QType, list[Seen]] = {}
    for where, node in found:
        lowest.setdefault(node.weight_qparams.qtype, []).append(Seen(int(node.weight.min()), where))
    signed = [qtype for qtype in lowest if QType(qtype.bits, False) not in lowest]
    for qtype in signed:
        low = least(lowest[qtype])
        if low.value > qtype.qmin:
            shown = f"lowest code {low.value}, {low.where}"
            facts[f"weight.qmin.{qtype.bits}"] = Fact(qtype.qmin + 1, shown)
    return facts


def _edge_layer_bits(files: Sequence[NamedFile], widths: Sequence[int]) -> Facts:
    """The wider of the first and the last layers, where layers differ."""
    if len(widths) < 2:
        return {}
    edges = [every[i] for named in files for i in (0, -1) if (every := list(layers(named.file)))]
    widest = greatest(Seen(node.weight_qparams.qtype.bits, node.name) for node in edges)
    return {"weight.edge_bits": Fact(widest.value, widest.where)}


def _zero_points(section: str, grids: Grids) -> Facts:
    """A word where one says it, one number where there is one, else every code."""
    for word in (ZeroPointWord.ZERO, ZeroPointWord.MID, ZeroPointWord.RANGE_MIN):
        if all((grid.zero_point == zero_points(word, grid.qtype)[0]).all() for _, grid in grids):
            fixed = word is not ZeroPointWord.RANGE_MIN
            symmetry = Symmetry.SYMMETRIC if fixed else Symmetry.ANY
            return _zero_point_facts(section, word.value, symmetry, "every tensor")
    seen = [Seen(int(code), where) for where, grid in grids for code in grid.zero_point.flat]
    ends = span(seen)
    if ends.value[0] == ends.value[1]:
        return _zero_point_facts(section, ends.value, Symmetry.ANY, "every tensor")
    shown = f"{ends.value[0]} to {ends.value[1]}: {ends.shown}"
    facts = _zero_point_facts(section, ZeroPointWord.ANY.value, Symmetry.ASYMMETRIC, shown)
    if section == "weight" and all(np.ptp(grid.zero_point) == 0 for _, grid in grids):
        facts["weight.equal_zero_points"] = Fact(True, "every layer")
    return facts


def _zero_point_facts(section: str, value: object, symmetry: Symmetry, shown: str) -> Facts:
    return {
        f"{section}.symmetry": Fact(symmetry.value, shown),
        f"{section}.zero_point": Fact(value, shown),
    }


def _granularity(grids: Grids) -> Fact:
    return listed(
        Seen(
            (Sharing.TENSOR if isinstance(g.granularity, PerTensor) else Sharing.CHANNEL).value,
            where,
        )
        for where, g in grids
    )


def _axes(found: Iterable[tuple[str, Linear]]) -> Facts:
    """Axis of the channel scales by operator."""
    return {
        f"weight.axis.{node.op_type}": Fact(AXES[node.op_type], where)
        for where, node in found
        if not isinstance(node.weight_qparams.granularity, PerTensor)
    }


def _scales(section: str, grids: Grids) -> Facts:
    """Powers of two with their exponents, or any."""
    for where, grid in grids:
        mantissas, _ = np.frexp(grid.scale)
        if (mantissas != 0.5).any():
            off = np.asarray(grid.scale)[mantissas != 0.5].flat[0]
            return {f"{section}.scale_form": Fact(ScaleForm.ANY.value, f"{where}: {off:.9g}")}
    exponents = span(
        Seen(int(np.log2(scale)), where) for where, grid in grids for scale in grid.scale.flat
    )
    return {
        f"{section}.scale_form": Fact(ScaleForm.POW2.value, "every scale is a power of two"),
        f"{section}.scale_exp_range": exponents,
    }


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
        if np.frexp(first.scale)[0] == 0.5 and all(grid == first for _, grid in found):
            value = {"scale": float(first.scale), "zero_point": int(first.zero_point)}
            facts[f"activation.fixed_output.{op_type}.{type_name}"] = Fact(value, where)
    return facts
