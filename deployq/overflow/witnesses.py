"""Inputs of a layer that drive a channel to an end of its bound."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import product

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from deployq.arithmetic.kernels.codes import torch_dtype
from deployq.arithmetic.rounding import Int64Array
from deployq.arithmetic.taps import OUTSIDE, window_taps
from deployq.overflow.facts import Channel, Layer, Position
from deployq.overflow.linear_layers import centred_weight, convolves
from deployq.overflow.products import constant_rows
from deployq.overflow.proof import Witness
from deployq.overflow.subject import Subject
from deployq.qgraph.nodes import Linear, MatMul
from deployq.qparams import IntArray
from deployq.simulator.sums import accumulate, accumulate_product

Codes = Mapping[str, IntArray]
HIGH, LOW = "high", "low"
SIMULATED_BITS = 64
"""Of the simulator's sums."""


def find_witnesses(
    subject: Subject, layers: tuple[Layer, ...], *, every_layer: bool = False
) -> Iterator[tuple[Witness, Codes]]:
    """A witness and its codes for each end of each channel that leaves the accumulator.

    A layer whose bound may be out of reach, or whose operands have no known shape, has none, nor
    has a sum beyond 64 bits, which the simulator cannot make.

    Args:
        subject: what the layers were proven of.
        every_layer: also one of each layer that fits, of the channel that needs most.
    """
    nodes = {node.output: node for node in subject.graph.nodes}
    for layer in layers:
        if not (layer.attained and layer.shapes and layer.channels):
            continue
        node = nodes[layer.output]
        for channel, end in _wanted(layer, subject, every_layer):
            aim = _Aim(subject, layer, channel, end)
            if channel.worst.bits > SIMULATED_BITS:
                continue
            if isinstance(node, Linear):
                yield _linear_witness(aim, node)
            elif isinstance(node, MatMul):
                yield _product_witness(aim, node)


def _wanted(layer: Layer, subject: Subject, every_layer: bool) -> Iterator[tuple[Channel, str]]:
    accumulator = subject.accumulator
    failing = layer.failing(accumulator)
    for channel in failing:
        if channel.worst.low < accumulator.low:
            yield channel, LOW
        if channel.worst.high > accumulator.high:
            yield channel, HIGH
    if every_layer and not failing:
        worst = layer.worst
        yield worst, HIGH if worst.worst.high == worst.need else LOW


@dataclass(frozen=True, eq=False)
class _Aim:
    """The end of a channel that codes are made for."""

    subject: Subject
    layer: Layer
    channel: Channel
    end: str

    @property
    def sign(self) -> int:
        return 1 if self.end == HIGH else -1

    @property
    def bound(self) -> int:
        worst = self.channel.worst
        return worst.high if self.end == HIGH else worst.low

    def chosen(self, name: str, weight: Int64Array) -> Int64Array:
        """The code of ``name`` that makes each product with a weight extreme."""
        codes = self.layer.codes[name]
        return np.where(self.sign * weight > 0, codes.high, codes.low)

    def filled(self, name: str, codes: npt.ArrayLike) -> IntArray:
        """A tensor of ``name`` with these codes, broadcast."""
        assert self.layer.shapes is not None
        dtype = self.subject.graph.qparams[name].qtype.dtype
        return np.broadcast_to(codes, self.layer.shapes[name]).astype(dtype)

    def tensor(self, name: str, codes: IntArray) -> Tensor:
        """Codes as the simulator takes them."""
        kind = torch_dtype(self.subject.graph.qparams[name].qtype)
        return torch.from_numpy(codes.astype(np.int64)).to(kind)

    def zero_point(self, name: str) -> int:
        return int(self.subject.graph.qparams[name].zero_point)

    def found(self, position: Position, reached: int) -> Witness:
        layer, channel = self.layer, self.channel.index
        facts = layer.name, layer.operator, channel, self.end, position, self.bound, reached
        return Witness(*facts)


def _linear_witness(aim: _Aim, node: Linear) -> tuple[Witness, Codes]:
    codes, position = _window_codes(aim, node) if convolves(node) else _row_codes(aim, node)
    name, held = node.inputs[0], replace(node, bias=aim.subject.bias(node))
    sums, _ = accumulate(held, aim.tensor(name, codes), aim.subject.graph.qparams[name])
    return aim.found(position, int(sums[position])), {name: codes}


def _row_codes(aim: _Aim, node: Linear) -> tuple[IntArray, Position]:
    """Every row of the input is the same."""
    assert aim.channel.index is not None
    name = node.inputs[0]
    weight = centred_weight(node)[aim.channel.index, :, 0, 0]
    codes = aim.filled(name, aim.chosen(name, weight))
    return codes, (*(0 for _ in codes.shape[:-1]), aim.channel.index)


def _window_codes(aim: _Aim, node: Linear) -> tuple[IntArray, Position]:
    """The cells below one window; the others hold the code nearest to zero."""
    index, name = aim.channel.index, node.inputs[0]
    assert index is not None
    row, column = aim.channel.high_at if aim.end == HIGH else aim.channel.low_at
    rest = aim.layer.codes[name]
    codes = aim.filled(name, min(max(aim.zero_point(name), rest.low), rest.high))
    weight = centred_weight(node)[index]
    size, kernel = (codes.shape[2], codes.shape[3]), (weight.shape[1], weight.shape[2])
    rows, columns = (
        taps[at]
        for taps, at in zip(window_taps(node.geometry, size, kernel), (row, column), strict=True)
    )
    met = np.ix_(range(len(weight)), rows != OUTSIDE, columns != OUTSIDE)
    first = index // (node.weight.shape[0] // node.geometry.groups) * len(weight)
    cells = np.ix_(
        range(first, first + len(weight)), rows[rows != OUTSIDE], columns[columns != OUTSIDE]
    )
    codes[0][cells] = aim.chosen(name, weight)[met]
    return codes, (0, index, row, column)


def _product_witness(aim: _Aim, node: MatMul) -> tuple[Witness, Codes]:
    """The simulator says where the extreme sum is."""
    graph = aim.subject.graph
    fed = _against_constant(aim, node) if len(aim.layer.codes) == 1 else _alike(aim, node)
    given = {**graph.constants, **fed}
    (a, qa), (b, qb) = ((aim.tensor(n, given[n]), graph.qparams[n]) for n in node.inputs)
    sums = accumulate_product(a, qa, b, qb)
    place = int((aim.sign * sums).argmax())
    position = tuple(int(i) for i in np.unravel_index(place, sums.shape))
    return aim.found(position, int(sums[position])), fed


def _against_constant(aim: _Aim, node: MatMul) -> Codes:
    """Every row of the activation, or column of a right one, aims at the best constant row."""
    (name,) = aim.layer.codes
    weight = constant_rows(node, aim.subject)
    chosen = aim.chosen(name, weight)
    sums = (weight * (chosen - aim.zero_point(name))).sum(-1)
    best = chosen.reshape(-1, chosen.shape[-1])[int((aim.sign * sums).argmax())]
    return {name: aim.filled(name, best if name == node.inputs[0] else best[:, None])}


def _alike(aim: _Aim, node: MatMul) -> Codes:
    """Two activations whose cells all make the extreme product."""
    left, right = node.inputs
    first, second = aim.layer.codes[left], aim.layer.codes[right]
    pairs = list(product((first.low, first.high), (second.low, second.high)))
    gains = [aim.sign * (a - aim.zero_point(left)) * (b - aim.zero_point(right)) for a, b in pairs]
    a, b = pairs[gains.index(max(gains))]
    return {left: aim.filled(left, a), right: aim.filled(right, b)}
