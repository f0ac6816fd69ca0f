"""What files show of single operators: the entries of [[op]]."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from deployq.qgraph.nodes import Dequantize, Float, Linear, MatMul, Node, Pool, Quantize, Rescale
from deployq.qtypes import QType
from deployq_targets.checks.shapes import group_of, operator_shape
from deployq_targets.inference.fact import Fact, Facts, NamedFile, Seen, greatest, listed, span
from deployq_targets.operator_shape import OperatorShape
from deployq_targets.words import Group, OpStatus, ZeroPointWord

BORDERS = (Quantize, Dequantize, Rescale)
BYTE, MIDDLE = QType(8, signed=False), [128, 128]

Found = list[tuple[str, NamedFile, Node]]
Shaped = list[tuple[str, OperatorShape]]

WINDOW: Mapping[str, Callable[[OperatorShape], tuple[int, ...]]] = {
    "kernel_h": lambda shape: shape.kernel[:1],
    "kernel_w": lambda shape: shape.kernel[1:],
    "stride": lambda shape: shape.strides,
    "dilation": lambda shape: shape.dilations,
    "pad": lambda shape: shape.pads,
}
"""Ranges of an operator with a window."""

MOST: Mapping[str, Callable[[OperatorShape], tuple[int, ...]]] = {
    "cin_max": lambda shape: tuple(extent.c for extent in shape.inputs),
    "cout_max": lambda shape: (shape.output.c,),
    "hw_max": lambda shape: tuple(s for e in (*shape.inputs, shape.output) for s in (e.h, e.w)),
    "dims_max": lambda shape: shape.dims,
}
"""Largest sizes of any operator."""


def operator_facts(files: Sequence[NamedFile]) -> tuple[Facts, ...]:
    """An entry for each operator, and group of convolutions, on codes or in float."""
    found: dict[tuple[str, Group], Found] = {}
    for named in files:
        for node in named.file.graph.nodes:
            if not isinstance(node, BORDERS):
                where = named.at(node.name)
                found.setdefault((node.op_type, group_of(node)), []).append((where, named, node))
    on_codes = {op for (op, _), nodes in found.items() if _integer(nodes)}
    for (op_type, group), nodes in found.items():
        if group is not Group.ANY:  # of what runs in float, no group is known
            nodes += found.get((op_type, Group.ANY), [])
    return tuple(
        _entry(op_type, group, nodes, files)
        for (op_type, group), nodes in sorted(found.items())
        if _integer(nodes) or op_type not in on_codes
    )


def runs_both_ways(files: Sequence[NamedFile]) -> Fact | None:
    """A node in float of an operator that also runs on codes, so that its entry cannot say it."""
    on_codes = {n.op_type for named in files for n in named.file.graph.nodes
                if not isinstance(n, (Float, *BORDERS))}  # fmt: skip
    for named in files:
        for node in named.file.graph.floats:
            if node.op_type in on_codes:
                return Fact(node.op_type, named.at(f"{node.op_type} {node.name}"))
    return None


def _integer(nodes: Found) -> Found:
    return [(where, named, node) for where, named, node in nodes if not isinstance(node, Float)]


def _entry(op_type: str, group: Group, nodes: Found, files: Sequence[NamedFile]) -> Facts:
    where, integer = nodes[0][0], _integer(nodes)
    facts: Facts = {"type": Fact(op_type, where)}
    if group is not Group.ANY:
        facts["group"] = Fact(group.value, where)
    if not integer:
        return facts | {"status": Fact(OpStatus.FLOAT.value, f"{where}, between reals")}
    facts |= _operands(integer, files) | _factors(integer, files)
    shapes = [(place, operator_shape(named.file, node)) for place, named, node in nodes]
    known = [(place, shape) for place, shape in shapes if shape is not None]
    if len(known) < len(shapes):
        return facts  # a limit on what is not known refuses
    windowed = any(isinstance(node, Pool) or (isinstance(node, Linear) and node.weight.ndim == 4)
                   for _, _, node in integer)  # fmt: skip
    return facts | (_ranges(known) if windowed else {}) | _largest(known)


def _operands(nodes: Found, files: Sequence[NamedFile]) -> Facts:
    """Types of activations and widths of weights, where the files have others too."""
    every = {qtype.name for named in files for qtype in named.file.activations.values()}
    types = listed(
        Seen(named.file.activations[name].name, where)
        for where, named, node in nodes for name in node.inputs if name in named.file.activations
    )  # fmt: skip
    facts: Facts = {}
    if types.value and set(types.value) < every:
        facts["act_types"] = types
    widths = _weight_bits(nodes)
    all_widths = _weight_bits(_linear(files))
    if widths.value and set(widths.value) < set(all_widths.value):
        facts["weight_bits"] = widths
    return facts


def _factors(nodes: Found, files: Sequence[NamedFile]) -> Facts:
    """Zero points of what products of two activations read, where the files have others too."""
    read = [(where, named, name) for where, named, node in nodes
            if isinstance(node, MatMul) for name in node.inputs]  # fmt: skip
    every = [(named, name) for named in files for name in named.file.activations]
    if not read or not any(_has_zero_point(named, name) for named, name in every):
        return {}
    if not any(_has_zero_point(named, name) for _, named, name in read):
        return {"factor_zero_point": Fact(ZeroPointWord.ZERO.value, read[0][0])}
    second = [named.file.graph.qparams[name] for _, named, name in read[1::2]]
    if not any(qparams.zero_point.any() for qparams in second):
        return {"second_factor_zero_point": Fact(ZeroPointWord.ZERO.value, read[0][0])}
    if not any(qparams.is_shifted or qparams.qtype != BYTE for qparams in second):
        return {"second_factor_zero_point": Fact(MIDDLE, read[0][0])}
    return {}


def _has_zero_point(named: NamedFile, tensor: str) -> bool:
    return bool(named.file.graph.qparams[tensor].zero_point.any())


def _linear(files: Sequence[NamedFile]) -> Found:
    return [(named.name, named, node) for named in files for node in named.file.graph.nodes]


def _weight_bits(nodes: Iterable[tuple[str, NamedFile, Node]]) -> Fact:
    return listed(
        Seen(node.weight_qparams.qtype.bits, where)
        for where, _, node in nodes if isinstance(node, Linear)
    )  # fmt: skip


def _ranges(shapes: Shaped) -> Facts:
    return {
        key: span(Seen(value, where) for where, shape in shapes for value in read(shape))
        for key, read in WINDOW.items()
    }


def _largest(shapes: Shaped) -> Facts:
    facts: Facts = {}
    for key, read in MOST.items():
        seen = [Seen(value, where) for where, shape in shapes for value in read(shape)]
        if seen:
            most = greatest(seen)
            facts[key] = Fact(max(most.value, 1), most.where)
    return facts
