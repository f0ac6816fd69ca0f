"""The multipliers: sizes rounded up to what they compute at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from deployq_targets.machine import Align, Compute
from deployq_targets.section import Product, ProductUse, Tile

Pair = tuple[int, int]


@dataclass(frozen=True)
class Loop:
    """The loops of a layer that multiplies.

    Args:
        rows, columns: positions of the output.
        groups: independent parts.
        inputs, outputs: channels of one part; of a depthwise layer, outputs are all channels.
        cells: of the kernel.
        depthwise: each output reads one input channel.
        pool: depthwise, and without weights.
        strides: of the window.
        window: rows and columns that it covers.
        source: rows and columns of the input.
    """

    rows: int
    columns: int
    inputs: int
    outputs: int
    cells: int = 1
    groups: int = 1
    depthwise: bool = False
    pool: bool = False
    strides: Pair = (1, 1)
    window: Pair = (1, 1)
    source: Pair = (1, 1)


@dataclass(frozen=True)
class Way:
    """How the multipliers go through one group of a layer.

    Args:
        tile: positions and channels of the output that are computed together.
        product: number of the product in ``align.products``.
        computed: cycles of the multipliers.
        loaded: cycles of the weights on their way to them, once.
    """

    tile: Tile
    product: int
    computed: float
    loaded: float


def way_of(loop: Loop, rate: float, align: Align, compute: Compute) -> Way:
    """The product that wastes least, and then the tile with the fewest cycles, both bounds.

    An array that slows down for depthwise layers has idle multipliers; weights of zero are loaded
    into them.

    Args:
        rate: multiply-accumulates per cycle of the layer's widths.
    """
    full, rate = rate, _slowed(loop, rate, compute)
    number, weights = _product(loop, align)
    found = []
    for tile in _tiles(loop, align):
        rows, columns, outputs = tile
        positions = round_up(loop.rows, rows) * round_up(loop.columns, columns)
        held = weights * round_up(loop.outputs, outputs)
        loaded = (
            held * full / rate / compute.weights_per_cycle if compute.weights_per_cycle else 0.0
        )
        found.append(Way(tile, number, positions * held / rate, loaded))
    return min(found, key=lambda way: (max(way.computed, way.loaded), way.computed + way.loaded))


def _slowed(loop: Loop, rate: float, compute: Compute) -> float:
    if not loop.depthwise:
        return rate
    slow = compute.depthwise_macs_per_cycle or rate
    return min(rate, (loop.pool and compute.pool_cells_per_cycle) or slow)


def _tiles(loop: Loop, align: Align) -> Sequence[Tile]:
    if loop.depthwise and align.depthwise_tiles:
        return align.depthwise_tiles
    return align.tiles or ((1, 1, align.cout or 1),)


def _product(loop: Loop, align: Align) -> tuple[int, int]:
    """The product that is taken, and the weights of an output channel with it, rounded up."""
    if loop.pool:
        return 0, max(loop.cells, align.depthwise_cells or 1)
    if loop.depthwise:
        return 0, round_up(loop.cells, align.depthwise_cells or 1)
    products: Sequence[Product] = align.products or ((align.cin or 1, 1),)
    used = [_used(loop, (inputs, cells, None)) for inputs, cells in products]
    used = [_used(loop, use) for use in align.product_uses] or used
    chosen = min(range(len(products)), key=lambda at: (used[at], -at))
    inputs, cells = products[chosen]
    held = align.block_inputs[chosen] if align.block_inputs else loop.inputs
    blocks = -(-loop.inputs // held)
    return chosen, blocks * round_up(min(held, loop.inputs), inputs) * round_up(loop.cells, cells)


def _used(loop: Loop, use: ProductUse | tuple[int, int, None]) -> int:
    """Products of an output as the compiler counts them; without a least, in whole steps."""
    inputs, cells, least = use
    if least is None:
        return round_up(loop.inputs, inputs) * round_up(loop.cells, cells)
    complete, rest = divmod(loop.cells, cells)
    return round_up(loop.inputs, inputs) * (complete * cells + max(rest, least))


def round_up(size: int, multiple: int) -> int:
    """The next multiple."""
    return -(-size // multiple) * multiple
