"""Blocks: a layer's output is computed part by part, from buffers that hold two of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod

from deployq_targets.latency_model.array import Loop, Way, round_up
from deployq_targets.profile import TargetProfile
from deployq_targets.words import BlockPart

Box = tuple[int, int, int]
"""Rows, columns, channels."""


@dataclass(frozen=True)
class Blocks:
    """How one group of a layer is cut.

    Args:
        output: of a block, and no larger than the layer.
        source: of the input that a block needs; its channels come part by part.
        count: blocks, those at the edge by their share of tiles.
        planes: blocks beside each other, each of which needs all weights of its channels.
        depths: blocks behind each other, each of which needs all input channels.
        held: the whole input fits into the buffers, and is read once.
    """

    output: Box
    source: Box
    count: float = 1.0
    planes: int = 1
    depths: int = 1
    held: bool = False


def blocks_of(loop: Loop, way: Way, profile: TargetProfile, bits: int) -> Blocks | None:
    """The block that reads the fewest inputs and weights, as a compiler counts them.

    A block is no larger than ``align.block``, and its inputs and sums fit into
    ``memory.block_buffers`` as many times as the profile says. Of equal ones it is the smallest, or
    the largest of those within ``align.block_of_equals``.

    Args:
        bits: of an input code.

    Returns:
        None where the profile states no ``align.block``, or no block fits.
    """
    if profile.align.block is None:
        return None
    cutter = _Cutter(loop, way, profile, bits)
    found = min(cutter.candidates(), key=cutter.rank, default=None)
    return None if found is None else cutter.made(*found)


@dataclass(frozen=True)
class _Cutter:
    loop: Loop
    way: Way
    profile: TargetProfile
    bits: int

    def candidates(self) -> Iterator[tuple[Box, Box]]:
        """Outputs and inputs of every block that fits, small ones first."""
        rows, columns, channels = self._limits()
        for depth in self._depths(channels):
            for high in range(self.way.tile[0], rows + 1, self.way.tile[0]):
                for wide in range(self.way.tile[1], columns + 1, self.way.tile[1]):
                    source = self._source(high, wide, depth)
                    if not self._fits((high, wide, depth), source):
                        break
                    yield (high, wide, depth), source

    def rank(self, block: tuple[Box, Box]) -> tuple[float, ...]:
        """Less is better: traffic, then size, where the profile says up to which."""
        (high, wide, depth), source = block
        rows, columns = self.profile.align.block_of_equals or (0, 0)
        if high > rows or wide > columns:
            return (self.traffic(block), 0, 0)
        covered = prod(min(a, b) for a, b in zip(source[:2], self.loop.source, strict=True))
        return (self.traffic(block), -covered, -depth)

    def traffic(self, block: tuple[Box, Box]) -> float:
        """Inputs and weights that are read for the whole layer, in cells.

        Inputs count for all channels of a block again, also where they fit whole; those blocks
        count half.
        """
        (high, wide, depth), source = block
        loop = self.loop
        planes = -(-loop.rows // high) * -(-loop.columns // wide)
        weights = 0 if loop.pool else loop.cells * loop.outputs * planes
        weights *= 1 if loop.depthwise else loop.inputs
        cells = source[0] * source[1] * self._inputs * loop.rows * loop.columns
        if not loop.depthwise:
            cells *= -(-loop.outputs // depth)
        return (cells / (high * wide) + weights) / (2 if self._holds(source) else 1)

    def made(self, output: Box, source: Box) -> Blocks:
        """The layer cut into such blocks."""
        loop, tile = self.loop, self.way.tile
        size = (loop.rows, loop.columns, loop.outputs)
        inside = [min(a, b) for a, b in zip(output, size, strict=True)]
        tiles = [
            prod(-(-cells // step) for cells, step in zip(box, tile, strict=True))
            for box in (size, inside)
        ]
        rows, columns, channels = (-(-a // b) for a, b in zip(size, inside, strict=True))
        return Blocks(
            output=(inside[0], inside[1], output[2]),
            source=(min(source[0], loop.source[0]), min(source[1], loop.source[1]), source[2]),
            count=tiles[0] / tiles[1],
            planes=rows * columns,
            depths=1 if loop.depthwise else channels,
            held=self._holds(source),
        )

    @property
    def _inputs(self) -> int:
        return self.loop.outputs if self.loop.depthwise else self.loop.inputs

    @property
    def _whole(self) -> int:
        """Cells of the whole input."""
        return prod(self.loop.source) * self._inputs

    @property
    def _copies(self) -> int:
        memory = self.profile.memory
        alone = memory.depthwise_block_copies if self.loop.depthwise else None
        return alone or memory.block_copies

    def _holds(self, source: Box) -> bool:
        rows, columns, channels = source
        block = rows * columns * min(channels, self._inputs)
        return self._whole < self._copies * block

    def _limits(self) -> Box:
        """The largest block, were there room."""
        assert self.profile.align.block is not None
        size = (self.loop.rows, self.loop.columns, self.loop.outputs)
        facts = zip(size, self.profile.align.block, self.way.tile, strict=True)
        rows, columns, channels = (round_up(min(a, b), tile) for a, b, tile in facts)
        return rows, columns, channels

    def _depths(self, channels: int) -> Iterator[int]:
        """A layer is cut in depth where its channels are stored apart."""
        step = round_up(self.way.tile[2], self.profile.align.stored_channels or 1)
        yield from range(step, channels, step)
        yield channels

    def _source(self, high: int, wide: int, depth: int) -> Box:
        """The input cells of a block."""
        loop, tile = self.loop, self.way.tile
        rows = round_up((high - 1) * loop.strides[0] + loop.window[0], tile[0])
        columns = round_up((wide - 1) * loop.strides[1] + loop.window[1], tile[1])
        if loop.depthwise:
            return rows, columns, depth
        align = self.profile.align
        held = round_up(loop.inputs, align.cin or 1)
        if align.block_inputs:
            held = min(held, align.block_inputs[self.way.product])
        return rows, columns, held

    def _fits(self, output: Box, source: Box) -> bool:
        memory, copies = self.profile.memory, self._copies
        taken = {
            BlockPart.INPUTS: copies * prod(source) * self.bits / 8,
            BlockPart.SUMS: copies * prod(output) * self.profile.accumulator.bits / 8,
        }
        for part, size in taken.items():
            granule = memory.block_granules.get(part, 1)
            taken[part] = -(-size // granule) * granule
        taken[BlockPart.TOGETHER] = sum(taken.values())
        return all(taken[part] <= room for part, room in memory.block_buffers.items())
