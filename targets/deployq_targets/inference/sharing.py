"""What files show of scales that elements of a weight share: axes of channels, and blocks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from deployq.qgraph.nodes import Linear
from deployq.qparams import PerBlock, PerChannel
from deployq_targets.checks.stored_weights import StoredWeight
from deployq_targets.inference.fact import Fact, Facts, NamedFile, Seen, listed
from deployq_targets.tensors import Axis
from deployq_targets.words import BlockAxis

AXES: dict[str, Axis] = {"Conv": 0, "ConvTranspose": 1, "MatMul": -1, "Gemm": "n"}
"""Axis of the output channels in a file."""

Stored = list[tuple[NamedFile, StoredWeight]]


def axis_facts(layers: Iterable[tuple[str, NamedFile, Linear]]) -> Facts:
    """Axis of the channel scales by operator."""
    return {
        f"weight.axis.{node.op_type}": Fact(_axis(named, node), where)
        for where, named, node in layers
        if isinstance(node.weight_qparams.granularity, PerChannel)
    }


def _axis(named: NamedFile, node: Linear) -> Axis:
    """As profiles write it; operators that state no axis have scales for their outputs."""
    for weight in named.file.weights:
        own = weight.granularity.axis if isinstance(weight.granularity, PerChannel) else None
        if weight.node == node.name and own not in (None, weight.output_axis):
            return own
    return AXES[node.op_type]


def block_facts(files: Sequence[NamedFile]) -> Facts:
    """Blocks of weights under codes; weights under reals, with theirs."""
    every = [(named, weight) for named in files for weight in named.file.weights]
    on_codes = [(n, weight) for n, weight in every if n.file.reads_codes(weight.node)]
    others = [(n, weight) for n, weight in every if not n.file.reads_codes(weight.node)]
    return {**_blocks("weight", on_codes), **_weight_only(others)}


def _weight_only(weights: Stored) -> Facts:
    if not weights:
        return {}
    key = "weight.only"
    return {
        f"{key}.bits": listed(Seen(w.qtype.bits, n.at(w.node)) for n, w in weights),
        f"{key}.types": listed(Seen(w.qtype.name, n.at(w.node)) for n, w in weights),
        f"{key}.op_types": listed(Seen(w.op_type, n.at(w.node)) for n, w in weights),
        **_blocks(key, weights),
    }


def _blocks(key: str, weights: Stored) -> Facts:
    """Sizes, the axis that is cut, and whether a block was shorter."""
    blocks = [
        (named.at(weight.node), weight, weight.granularity)
        for named, weight in weights
        if isinstance(weight.granularity, PerBlock)
    ]
    if not blocks:
        return {}
    outputs = [where for where, weight, cut in blocks if cut.axis == weight.output_axis]
    tails = [where for where, weight, cut in blocks if weight.shape[cut.axis] % cut.block_size]
    axis = BlockAxis.N if outputs else BlockAxis.K
    return {
        f"{key}.block_sizes": listed(Seen(cut.block_size, where) for where, _, cut in blocks),
        f"{key}.block_axis": Fact(axis.value, [*outputs, blocks[0][0]][0]),
        f"{key}.block_tail": Fact(bool(tails), [*tails, "every block is whole"][0]),
    }
