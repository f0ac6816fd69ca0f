"""Sweeps over unsigned 16-bit activations, over 4-bit weights, and over both."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import chain

import numpy as np

from benchmarks.sweeps import wide
from benchmarks.sweeps.biases import crowded
from benchmarks.sweeps.layers import rows, windows
from benchmarks.sweeps.sweep import Sweep
from benchmarks.sweeps.unsigned import unsigned
from deployq.qgraph.nodes import Linear
from deployq.qparams import QParams
from deployq.qtypes import QType

U16, OFFSET = QType(16, signed=False), 1 << 15
S4 = QType(4, signed=True, narrow_range=True)
REACH = 3000
"""Of zero points around the middle of the codes."""
TIED_SCALE = 2.0**-12
"""Of the sums: a power of two, which leaves the ratios to it exact."""


def widths() -> Iterator[Sweep]:
    """W8A16, W4A16 and W4A8, operator by operator; without clamps, as ``unsigned_sweeps``.

    Depthwise convolutions whose steps differ are left out: with 16 bits HTP has another kernel.
    """
    sixteen = (
        wide.every_sum("CONV_2D"), wide.windows("CONV_2D"), wide.windows("DEPTHWISE_CONV_2D"),
        wide.rows(), wide.pairs("ADD"), wide.means(), wide.pools("MAX_POOL_2D"),
    )  # fmt: skip
    for sweep in chain.from_iterable(sixteen):
        if sweep.graph.nodes[0].bounds is None and not is_uneven(sweep):
            yield unsigned16(sweep)
    yield from crowded(16)
    for layers in (wide.windows("CONV_2D"), wide.rows()):
        yield from (four_bits(unsigned16(sweep)) for sweep in layers)
    for layers in (windows("CONV_2D"), windows("DEPTHWISE_CONV_2D"), rows()):
        yield from (four_bits(unsigned(sweep)) for sweep in layers)


def tied_sums(seed: int = 0) -> Iterator[Sweep]:
    """Sums of 16 bits whose larger mantissa of 15 bits lies in the middle between two integers."""
    rng, pairs = np.random.default_rng(seed), unsigned16(next(wide.pairs("ADD")))
    for _ in range(40):
        larger = np.ldexp(rng.integers(1 << 14, 1 << 15) + 0.5, -15)
        ratios = {"a": larger, "b": larger * rng.uniform(0.1, 0.99), "y": 1.0}
        qparams = {
            name: replace(q, scale=np.asarray(ratios[name] * TIED_SCALE, np.float32))
            for name, q in pairs.graph.qparams.items()
        }
        yield replace(pairs, graph=replace(pairs.graph, qparams=qparams))


def is_uneven(sweep: Sweep) -> bool:
    """A depthwise convolution whose steps along the two axes differ."""
    (node,) = sweep.graph.nodes
    if not isinstance(node, Linear) or node.op_type != "Conv":
        return False
    depthwise = node.geometry.groups > 1 == node.weight.shape[1]
    return depthwise and len(set(node.geometry.strides)) > 1


def unsigned16(sweep: Sweep, seed: int = 0) -> Sweep:
    """The same codes over u16, with zero points of their own where the operator has any."""
    rng = np.random.default_rng(seed)
    free = sweep.graph.nodes[0].op_type != "MaxPool"
    qparams = {
        name: QParams(U16, q.scale, np.asarray(OFFSET + free * rng.integers(-REACH, REACH)))
        for name, q in sweep.graph.qparams.items()
    }
    codes = {n: (c.astype(np.int64) + OFFSET).astype(np.uint16) for n, c in sweep.inputs.items()}
    return Sweep(replace(sweep.graph, qparams=qparams), codes)


def four_bits(sweep: Sweep) -> Sweep:
    """The same layer with the upper bits of its weights, at scales as many times as large."""
    (node,) = sweep.graph.nodes
    assert isinstance(node, Linear) and node.bias is not None
    scale = np.float32(16) * node.weight_qparams.scale
    weights = replace(node.weight_qparams, qtype=S4, scale=scale)
    codes = np.clip(np.rint(node.weight / 16), S4.qmin, S4.qmax).astype(np.int64)
    layer = replace(node, weight=codes, weight_qparams=weights, bias=node.bias // 16)
    return Sweep(replace(sweep.graph, nodes=(layer,)), sweep.inputs)
