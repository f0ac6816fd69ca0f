"""From an integer graph to the rows and totals of an inspection."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod

import numpy as np

from deployq.graph.plan import Plan
from deployq.inspection.facts import Grid, Inspection, Row, Shape, Weight
from deployq.qgraph import IntegerGraph
from deployq.qgraph.liveness import largest_live_set
from deployq.qgraph.nodes import Linear, Node, Product
from deployq.qgraph.sizes import macs, packed_size
from deployq.qparams import PerBlock, PerTensor, QParams
from deployq.qtypes import QType

CODES, REALS = ".codes", ".real"
REAL = QType(32, True)
"""As wide as a float32."""


def inspect_graph(
    graph: IntegerGraph,
    shapes: Mapping[str, Shape] | None,
    *,
    source: str,
    plan: Plan | None = None,
    floats: Sequence[str] | None = None,
    files: Sequence[tuple[str, int]] = (),
) -> Inspection:
    """Rows and totals of a graph.

    Args:
        graph: from ``deployq.qgraph.read_graph``.
        shapes: of every code tensor for one sample, or None.
        source, files: as :class:`Inspection`.
        plan: of a bundle; says what the codes' types are where a file only has containers.
        floats: lines on the operators in float; None has those of the plan, else of the file.
    """
    types = _Types.of(plan)
    nodes = [n for n in graph.nodes if n.writes_codes or isinstance(n, Product)]
    products = None if shapes is None else {node.output: macs(node, shapes) for node in nodes}
    apart = 0 if plan is None else sum(plan.float_macs.values())
    total = None if products is None else sum(products.values()) + apart
    rows = tuple(_row(graph, node, types, shapes, products, total) for node in nodes)
    weights = [row.weight for row in rows if row.weight is not None]
    listed = tuple(f"{node.name}: {node.op_type}, in float in the file" for node in graph.floats)
    stated = listed if plan is None else plan.floats
    lines = stated if floats is None else tuple(floats)
    live = None if shapes is None else largest_live_set(graph, shapes)
    return Inspection(
        source=source,
        target=None if plan is None else plan.target,
        rows=rows,
        parameters=sum(_parameters(node) for node in nodes),
        size=sum(weight.size + weight.bias_size for weight in weights),
        macs=total,
        live_size=None if live is None else live.size,
        live_at=None if live is None else live.tensor.removesuffix(CODES),
        integer_share=None if total is None else _integer_share(rows, total, lines),
        floats=lines,
        files=tuple(files),
    )


@dataclass(frozen=True)
class _Types:
    """Types of codes by tensor and by layer, where a plan states them."""

    tensors: Mapping[str, QType]
    weights: Mapping[str, QType]

    @classmethod
    def of(cls, plan: Plan | None) -> _Types:
        if plan is None:
            return cls({}, {})
        tensors = {name: grid.qtype for grid in plan.tensors for name in grid.tensors}
        return cls(tensors, {layer.name: layer.qtype for layer in plan.layers})


def _row(
    graph: IntegerGraph,
    node: Node,
    types: _Types,
    shapes: Mapping[str, Shape] | None,
    products: Mapping[str, int] | None,
    total: int | None,
) -> Row:
    shape = None if shapes is None else shapes[node.output]
    own = None if products is None else products[node.output]
    qparams = graph.qparams.get(node.output)
    name = node.output.removesuffix(REALS if qparams is None else CODES)
    qtype = REAL if qparams is None else qparams.qtype
    return Row(
        name=name,
        operator=node.op_type,
        weight=_weight(node, types.weights.get(name)) if isinstance(node, Linear) else None,
        grid=None if qparams is None else _grid(qparams, types.tensors.get(name)),
        shape=shape,
        size=None if shape is None else packed_size(prod(shape), qtype),
        macs=own,
        share=None if own is None or total is None else own / max(total, 1),
    )


def _weight(node: Linear, qtype: QType | None) -> Weight:
    return Weight(
        shape=tuple(node.weight.shape),
        grid=_grid(node.weight_qparams, qtype),
        size=packed_size(node.weight.size, node.weight_qparams.qtype),
        bias=_bias_type(node),
        bias_size=0 if node.bias is None else packed_size(node.bias.size, node.bias_type or REAL),
    )


def _bias_type(node: Linear) -> str | None:
    if node.bias is None:
        return None
    return "f32" if node.bias_type is None else node.bias_type.name


def _grid(qparams: QParams, qtype: QType | None) -> Grid:
    """Parameters of the file, over the codes of ``qtype`` where that is known."""
    qtype, scale = qtype or qparams.qtype, qparams.scale.astype(np.float64)
    low, high = ((code - qparams.zero_point) * scale for code in (qtype.qmin, qtype.qmax))
    names = {PerTensor: "tensor", PerBlock: "block"}
    return Grid(
        qtype=qtype.name,
        codes=(qtype.qmin, qtype.qmax),
        granularity=names.get(type(qparams.granularity), "channel"),
        scales=qparams.scale.size,
        scale=(float(scale.min()), float(scale.max())),
        zero_point=(int(qparams.zero_point.min()), int(qparams.zero_point.max())),
        covers=(float(low.min()), float(high.max())),
    )


def _parameters(node: Node) -> int:
    if not isinstance(node, Linear):
        return 0
    return node.weight.size + (0 if node.bias is None else node.bias.size)


def _integer_share(rows: Sequence[Row], total: int, floats: Sequence[str]) -> float:
    """Part of the multiply-accumulates outside what the plan leaves in float."""
    left = {line.partition(":")[0] for line in floats}
    return sum(row.macs or 0 for row in rows if row.name not in left) / max(total, 1)
