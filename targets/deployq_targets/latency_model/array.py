"""The multipliers: sizes rounded up to what they compute at once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod

from deployq_targets.machine import Align, Compute


@dataclass(frozen=True)
class Loop:
    """The loops of a layer that multiplies.

    Args:
        rows, columns: positions of the output.
        groups: independent parts.
        inputs, outputs: channels of one part; of a depthwise layer, outputs are all channels.
        cells: of the kernel.
        depthwise: each output reads one input channel.
    """

    rows: int
    columns: int
    inputs: int
    outputs: int
    cells: int = 1
    groups: int = 1
    depthwise: bool = False


def array_cycles(loop: Loop, rate: float, align: Align, compute: Compute) -> tuple[float, float]:
    """Cycles of the multipliers, and of the weights on their way there.

    The tile and the product are those with the fewest cycles, both bounds together. An array that
    slows down for depthwise layers has idle multipliers; weights of zero are loaded into them.

    Args:
        rate: multiply-accumulates per cycle of the layer's widths.
    """
    if loop.depthwise:
        slow = compute.depthwise_macs_per_cycle or rate
        idle, rate = rate / min(slow, rate), min(slow, rate)
    else:
        idle = 1.0
    found = []
    for positions, weights in _padded(loop, align):
        loaded = 0.0 if compute.weights_per_cycle is None else weights * idle
        found.append((positions * weights / rate, loaded / (compute.weights_per_cycle or 1.0)))
    return min(found, key=lambda pair: (max(pair), sum(pair)))


def _padded(loop: Loop, align: Align) -> Iterator[tuple[int, int]]:
    """Positions and weights of each way to tile the loops, rounded up."""
    products = align.products or ((align.cin or 1, 1),)
    if loop.depthwise:
        products = ((1, align.depthwise_cells or 1),)
    for rows, columns, outputs in align.tiles or ((1, 1, align.cout or 1),):
        positions = round_up(loop.rows, rows) * round_up(loop.columns, columns)
        for inputs, cells in products:
            sizes = (
                loop.groups,
                round_up(loop.outputs, outputs),
                round_up(loop.inputs, inputs),
                round_up(loop.cells, cells),
            )
            yield positions, prod(sizes)


def round_up(size: int, multiple: int) -> int:
    """The next multiple."""
    return -(-size // multiple) * multiple
