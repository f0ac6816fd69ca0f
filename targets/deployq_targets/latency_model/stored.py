"""Bytes of weights and feature maps as a target stores them, and which stay on the chip."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from math import prod

import numpy as np

from deployq.qgraph.liveness import last_readers
from deployq.qgraph.nodes import IntegerGraph, Linear
from deployq.qgraph.sizes import packed_bytes
from deployq.qparams import IntArray
from deployq_targets.latency_model.array import round_up
from deployq_targets.machine import Memory
from deployq_targets.profile import TargetProfile
from deployq_targets.words import WeightPacking

Shapes = Mapping[str, tuple[int, ...]]


def weight_bytes(node: Linear, profile: TargetProfile) -> float:
    """Bytes that a layer reads beside its feature maps.

    Compressed weights count their entropy (Shannon's, of single codes): no code of one symbol at a
    time is shorter, and none that adapts to the layer is much longer.
    """
    outputs = node.weight.shape[node.channel_axis]
    own = profile.memory.channel_bytes or 0
    return _codes(node, profile) + outputs * own


def _codes(node: Linear, profile: TargetProfile) -> float:
    bits, memory = node.weight_qparams.qtype.bits, profile.memory
    if memory.weight_packing is WeightPacking.COMPRESSED:
        return node.weight.size * min(entropy(node.weight), bits) / 8
    count = node.weight.size
    if memory.weight_packing is WeightPacking.BITSERIAL:
        inputs = node.weight.shape[1 - node.channel_axis]
        count = count // inputs * round_up(inputs, profile.align.cin or 1)
    return packed_bytes(count, bits)


def entropy(codes: IntArray) -> float:
    """Bits for each code, were all of them drawn alike."""
    _, counts = np.unique(codes, return_counts=True)
    shares = counts / codes.size
    return float(-(shares * np.log2(shares)).sum())


def map_bytes(graph: IntegerGraph, shapes: Shapes, name: str, profile: TargetProfile) -> int:
    """Bytes of a feature map, its channels rounded up where the target stores them so."""
    shape, multiple = shapes[name], profile.align.stored_channels or 1
    if not shape:
        shape = (1,)
    axis = 1 if len(shape) == 4 else len(shape) - 1
    channels = round_up(shape[axis], multiple)
    return packed_bytes(prod(shape) // shape[axis] * channels, graph.qparams[name].qtype.bits)


def map_capacity(memory: Memory) -> int | None:
    """Bytes on the chip for feature maps; None where the profile states no limit."""
    return memory.shared_bytes if memory.activations_bytes is None else memory.activations_bytes


def outside(graph: IntegerGraph, sizes: Mapping[str, int], capacity: int | None) -> Collection[str]:
    """Feature maps that do not fit on the chip.

    Small ones are placed first; one is placed where, at each node of its life, those placed before
    leave room. A map lives from the node that writes it to the last that reads it.

    Args:
        sizes: bytes by tensor.
    """
    if capacity is None:
        return ()
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
