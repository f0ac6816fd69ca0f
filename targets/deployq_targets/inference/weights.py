"""What files show of [weight]."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from deployq.qgraph.nodes import Linear, MatMul
from deployq.qtypes import QType
from deployq_targets.checks.weights import layers
from deployq_targets.inference.fact import Fact, Facts, NamedFile, Seen, greatest, least, listed
from deployq_targets.inference.numbers import (
    Grids,
    granularity,
    scale_facts,
    type_facts,
    zero_point_facts,
)
from deployq_targets.inference.sharing import axis_facts, block_facts


def weight_facts(files: Sequence[NamedFile]) -> Facts:
    """Constant operands of layers; none where the files have no layer on codes."""
    found = [(named.at(n.name), named, n) for named in files for n in layers(named.file)]
    products = [(named.at(n.name), n) for named in files for n in named.file.graph.nodes
                if isinstance(n, MatMul)]  # fmt: skip
    shown = products[0][0] if products else "every layer"
    facts = {"weight.constant": Fact(not products, shown), **block_facts(files)}
    if not found:
        return facts
    grids = [(where, node.weight_qparams) for where, _, node in found]
    widths = listed(Seen(grid.qtype.bits, where) for where, grid in grids)
    return facts | {
        **type_facts("weight", [(where, grid.qtype) for where, grid in grids]),
        **_lowest((where, node) for where, _, node in found),
        **zero_point_facts("weight", grids),
        **_equal_zero_points(grids),
        "weight.granularity": granularity(grids),
        **axis_facts(found),
        **scale_facts("weight", grids),
        "weight.bits_per_layer": Fact(len(widths.value) > 1, widths.shown),
        **_edge_layer_bits(files, widths.value),
    }


def _equal_zero_points(grids: Grids) -> Facts:
    """Of all channels of a layer, where layers have zero points at all."""
    some = any(grid.zero_point.any() for _, grid in grids)
    if not some or any(np.ptp(grid.zero_point) for _, grid in grids):
        return {}
    return {"weight.equal_zero_points": Fact(True, "every layer")}


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
