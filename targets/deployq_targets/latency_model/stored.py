"""Bytes of weights and feature maps as a target stores them, and which stay on the chip."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod

import numpy as np

from deployq.qgraph.edges import output_codes
from deployq.qgraph.liveness import last_readers
from deployq.qgraph.nodes import IntegerGraph, Linear, Quantize
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


def constants_of(node: Linear, profile: TargetProfile) -> Constants:
    """What a layer reads beside its feature maps."""
    outputs = node.weight.shape[node.channel_axis]
    return Constants(_weights(node, profile), outputs * (profile.memory.channel_bytes or 0))


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
        stored: bytes that it takes.
        piece: bytes of one access, where it is read and written in short ones; None for long ones.
        outside: it lies in the memory outside the chip.
    """

    stored: int
    piece: int | None = None
    outside: bool = False

    def moved(self, burst: int | None) -> float:
        """Bytes of traffic where an access costs a burst at least."""
        if burst is None or self.piece is None:
            return self.stored
        return self.stored * max(burst, self.piece) / self.piece


def feature_maps(
    graph: IntegerGraph, shapes: Shapes, profile: TargetProfile
) -> Mapping[str, FeatureMap]:
    """Every code tensor that is no constant, by name.

    Those that enter or leave the network have the channels last without gaps, and move in pieces of
    ``align.cin`` channels; all others have ``align.stored_channels`` together.
    """
    names = [n for n in graph.qparams if n in shapes and n not in graph.constants]
    edges = {*graph.inputs, *output_codes(graph)}
    edges |= {n.output for n in graph.nodes if isinstance(n, Quantize)}
    found = {name: _map(graph, shapes[name], name, profile, name in edges) for name in names}
    kept = profile.memory.edges_outside
    inside = {n: facts.stored for n, facts in found.items() if not (kept and n in edges)}
    left = _left_out(graph, inside, _capacity(profile.memory))
    return {
        name: FeatureMap(m.stored, m.piece, outside=name in left or name not in inside)
        for name, m in found.items()
    }


def _map(
    graph: IntegerGraph, shape: tuple[int, ...], name: str, profile: TargetProfile, edge: bool
) -> FeatureMap:
    bits, align = graph.qparams[name].qtype.bits, profile.align
    multiple = align.stored_channels or 1
    if multiple == 1 or not shape:
        return FeatureMap(packed_bytes(prod(shape), bits))
    channels = shape[1] if len(shape) == 4 else shape[-1]
    if edge:
        return FeatureMap(packed_bytes(prod(shape), bits), packed_bytes(align.cin or 1, bits))
    return FeatureMap(packed_bytes(prod(shape) // channels * round_up(channels, multiple), bits))


def _capacity(memory: Memory) -> int | None:
    """Bytes on the chip for feature maps; None where the profile states no limit."""
    return memory.shared_bytes if memory.activations_bytes is None else memory.activations_bytes


def _left_out(
    graph: IntegerGraph, sizes: Mapping[str, int], capacity: int | None
) -> frozenset[str]:
    """Feature maps that do not fit on the chip.

    Small ones are placed first; one is placed where, at each node of its life, those placed before
    leave room. A map lives from the node that writes it to the last that reads it.

    Args:
        sizes: bytes by tensor.
    """
    if capacity is None:
        return frozenset()
    written = {node.output: number for number, node in enumerate(graph.nodes)}
    last, used = last_readers(graph), [0] * (len(graph.nodes) + 1)
    left = []
    for name in sorted(sizes, key=lambda name: (sizes[name], name)):
        first = written.get(name, 0)
        life = range(first, max(last.get(name, first), first) + 1)
        if max(used[number] for number in life) + sizes[name] > capacity:
            left.append(name)
            continue
        for number in life:
            used[number] += sizes[name]
    return frozenset(left)
