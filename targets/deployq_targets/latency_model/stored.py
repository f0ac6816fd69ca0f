"""Bytes of weights and feature maps as a target stores them, and which stay on the chip."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import prod

import numpy as np

from deployq.qgraph.edges import output_codes
from deployq.qgraph.liveness import last_readers
from deployq.qgraph.nodes import IntegerGraph, Linear, Node, Pool, Quantize
from deployq.qgraph.sizes import packed_bytes
from deployq.qparams import IntArray
from deployq_targets.latency_model.array import round_up
from deployq_targets.machine import Memory
from deployq_targets.profile import TargetProfile
from deployq_targets.words import WeightPacking

Shapes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True)
class Constants:
    """What a layer reads beside its feature maps, in bytes.

    Args:
        weights: as they are packed. Compressed ones count their entropy (Shannon's, of single
            codes), which no code of one symbol at a time is below.
        channels: bias, multiplier and shift of every output channel.
    """

    weights: float = 0.0
    channels: int = 0

    @property
    def size(self) -> float:
        """Both."""
        return self.weights + self.channels


def constants_of(node: Node, shapes: Shapes, profile: TargetProfile) -> Constants:
    """What a layer reads beside its feature maps; the ones of a mean compress to nothing."""
    channel = profile.memory.channel_bytes or 0
    if isinstance(node, Linear):
        outputs = node.weight.shape[node.channel_axis]
        return Constants(_weights(node, profile), outputs * channel)
    if isinstance(node, Pool) and node.geometry is None and profile.compute.means_load_weights:
        return Constants(0.0, shapes[node.output][1] * channel)
    return Constants()


def _weights(node: Linear, profile: TargetProfile) -> float:
    bits, packing = node.weight_qparams.qtype.bits, profile.memory.weight_packing
    if packing is WeightPacking.COMPRESSED:
        return node.weight.size * min(entropy(node.weight), bits) / 8
    count = node.weight.size
    if packing is WeightPacking.BITSERIAL:
        inputs = node.weight.shape[1 - node.channel_axis]
        count = count // inputs * round_up(inputs, profile.align.cin or 1)
    return packed_bytes(count, bits)


def entropy(codes: IntArray) -> float:
    """Bits for each code, were all of them drawn alike."""
    _, counts = np.unique(codes, return_counts=True)
    shares = counts / codes.size
    return float(-(shares * np.log2(shares)).sum())


@dataclass(frozen=True)
class FeatureMap:
    """A tensor between operators.

    Args:
        size: bytes that it takes.
        cells: positions, all of whose channels lie together.
        bits: of a code.
        edge: it enters or leaves the network, and has the channels last without gaps; others have
            ``align.stored_channels`` together.
        outside: it lies in the memory outside the chip.
    """

    size: int
    cells: int
    bits: int
    edge: bool
    outside: bool = False


@dataclass(frozen=True)
class Placed:
    """Where all feature maps lie.

    Args:
        maps: every code tensor that is no constant, by name.
        room: bytes left on the chip while a node runs, by its output; None without a limit.
    """

    maps: Mapping[str, FeatureMap]
    room: Mapping[str, int] | None


def place(graph: IntegerGraph, shapes: Shapes, profile: TargetProfile) -> Placed:
    """Feature maps on the chip as far as they fit, the small ones first."""
    names = [n for n in graph.qparams if n in shapes and n not in graph.constants]
    edges = {*graph.inputs, *output_codes(graph)}
    edges |= {n.output for n in graph.nodes if isinstance(n, Quantize)}
    multiple = profile.align.stored_channels or 1
    bits = {n: graph.qparams[n].qtype.bits for n in names}
    found = {n: _map(shapes[n], bits[n], 1 if n in edges else multiple) for n in names}
    found = {n: replace(stored, edge=n in edges) for n, stored in found.items()}
    kept = profile.memory.edges_outside
    inside = {n: facts.size for n, facts in found.items() if not (kept and n in edges)}
    capacity = _capacity(profile.memory)
    left, used = _left_out(graph, inside, capacity)
    return Placed(
        {n: replace(m, outside=n in left or n not in inside) for n, m in found.items()},
        None if capacity is None else {
            node.output: capacity - used[number] for number, node in enumerate(graph.nodes)
        },
    )  # fmt: skip


def _map(shape: tuple[int, ...], bits: int, multiple: int) -> FeatureMap:
    channels = (shape[1] if len(shape) == 4 else shape[-1]) if shape else 1
    cells = prod(shape) // max(channels, 1)
    size = packed_bytes(cells * round_up(channels, multiple), bits)
    return FeatureMap(size, cells, bits, edge=False)


def part_of(stored: FeatureMap, shape: tuple[int, ...], multiple: int) -> FeatureMap:
    """A part of a map, where and as the whole lies.

    Args:
        multiple: channels are stored in multiples of this inside the network.
    """
    part = _map(shape, stored.bits, 1 if stored.edge else multiple)
    return replace(part, edge=stored.edge, outside=stored.outside)


def _capacity(memory: Memory) -> int | None:
    """Bytes on the chip for feature maps; None where the profile states no limit."""
    return memory.shared_bytes if memory.activations_bytes is None else memory.activations_bytes


def _left_out(
    graph: IntegerGraph, sizes: Mapping[str, int], capacity: int | None
) -> tuple[frozenset[str], list[int]]:
    """Feature maps that do not fit on the chip, and the bytes of the others at each node.

    Small ones are placed first; one is placed where, at each node of its life, those placed before
    leave room. A map lives from the node that writes it to the last that reads it.

    Args:
        sizes: bytes by tensor.
    """
    written = {node.output: number for number, node in enumerate(graph.nodes)}
    last, used = last_readers(graph), [0] * (len(graph.nodes) + 1)
    left = []
    for name in sorted(sizes, key=lambda name: (sizes[name], name)):
        first = written.get(name, 0)
        life = range(first, max(last.get(name, first), first) + 1)
        taken = max(used[number] for number in life) + sizes[name]
        if capacity is not None and taken > capacity:
            left.append(name)
            continue
        for number in life:
            used[number] += sizes[name]
    return frozenset(left), used
