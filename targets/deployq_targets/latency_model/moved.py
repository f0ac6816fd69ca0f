"""Bytes that a layer moves, block by block."""

from __future__ import annotations

from dataclasses import dataclass

from deployq_targets.latency_model.array import Loop, round_up
from deployq_targets.latency_model.blocks import Blocks
from deployq_targets.latency_model.ports import Port
from deployq_targets.latency_model.stored import FeatureMap
from deployq_targets.machine import Align


@dataclass(frozen=True)
class Run:
    """Bytes that move in pieces.

    Args:
        size: of all of them.
        piece: of one access, where a short one costs a burst; None for long ones.
        first: of one block.
    """

    size: float
    piece: float | None = None
    first: float = 0.0

    def on(self, port: Port) -> float:
        """Bytes of traffic."""
        return self.size * self._cost(port)

    def first_on(self, port: Port) -> float:
        """Cycles that one block takes alone, without the latency."""
        return port.transfer(self.first * self._cost(port))

    def _cost(self, port: Port) -> float:
        if self.piece is None or port.burst is None:
            return 1.0
        return max(1.0, port.burst / self.piece)


def whole(stored: FeatureMap, align: Align) -> Run:
    """A map that moves once, the edges of the network in pieces of ``align.cin`` channels."""
    if not stored.edge or align.stored_channels is None:
        return Run(stored.size)
    return Run(stored.size, (align.cin or 1) * stored.bits / 8)


def read_in_blocks(stored: FeatureMap, loop: Loop, blocks: Blocks, align: Align) -> Run:
    """The input: for each block its cells, overlaps again, with all channels of a group."""
    channels = loop.outputs if loop.depthwise else loop.inputs
    rows, columns, held = blocks.source
    if stored.edge:
        together, piece = channels, held * (columns if held == channels else 1)
    else:
        together = round_up(channels, align.stored_channels or 1)
        piece = (align.stored_channels or channels) * columns
    times = blocks.planes * blocks.depths
    cells = stored.cells if blocks.held else rows * columns * times
    size = cells * together * loop.groups
    first = rows * columns * min(held, channels)
    return _run(stored, size, piece, first)


def written_in_blocks(stored: FeatureMap, loop: Loop, blocks: Blocks, align: Align) -> Run:
    """The output: each cell once; each group's channels are stored apart."""
    rows, columns, channels = blocks.output
    brick = align.stored_channels or channels
    size = stored.cells * (
        loop.groups * (loop.outputs if stored.edge else round_up(loop.outputs, brick))
    )
    piece = brick * columns
    if stored.edge and not channels == loop.outputs <= brick:
        piece = min(brick, channels)
    return _run(stored, size, piece, rows * columns * min(channels, loop.outputs))


def _run(stored: FeatureMap, size: float, piece: float, first: float) -> Run:
    octets = stored.bits / 8
    return Run(size * octets, piece * octets, first * octets)
