"""The sections that describe the machine and its check.

[align], [memory], [compute] and [limits] feed the cost model, [verify] the verifier. All figures
are of one target; an absent key is not known and counts for nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field

from deployq_targets.section import (
    Count,
    OpType,
    Product,
    ProductUse,
    Rate,
    Section,
    Size,
    Tile,
    WidthPair,
)
from deployq_targets.words import (
    BlockPart,
    ByteOrder,
    CodeOrder,
    ExternalKind,
    Traffic,
    VerifyMode,
    VerifyTool,
    WeightPacking,
)


class Align(Section):
    """What sizes are rounded up to."""

    cin: Count | None = None
    """Input channels are computed in multiples of this."""
    cout: Count | None = None
    """Output channels are computed in multiples of this."""
    tiles: tuple[Tile, ...] = ()
    """Rows, columns and channels of the outputs that are computed together; of several, the one
    that wastes least. Absent: one cell, cout channels."""
    products: tuple[Product, ...] = ()
    """Input channels and kernel cells whose products are added together; of several, the pair that
    wastes least, of equal ones the last. Absent: cin channels, one cell."""
    product_uses: tuple[ProductUse, ...] = ()
    """What the compiler takes each of products to use, where it chooses by that: input channels,
    kernel cells, and the cells that the rest of a kernel counts for at least."""
    depthwise_tiles: tuple[Tile, ...] = ()
    """The tiles of depthwise layers and pools. Absent: all tiles."""
    depthwise_cells: Count | None = None
    """Kernel cells of a depthwise layer are computed in multiples of this, of a pool this many at
    least."""
    block: Tile | None = None
    """The largest block: rows, columns and channels of the output that are computed from the
    accelerator's own buffers; for each block inputs and weights are read again. Absent: a layer is
    one block."""
    block_of_equals: tuple[Count, Count] | None = None
    """Of blocks that read as much, the largest with no more rows and columns is taken. Absent: the
    smallest."""
    block_inputs: tuple[Count, ...] = ()
    """Input channels that the buffers hold, for each of products, and rounded up to cin; not of
    depthwise layers and pools, which hold those of the output. Absent: all."""
    channels_last: bool = False
    """A layer may write its channels last without gaps: a Transpose behind it that brings them last
    moves nothing."""
    stored_channels: Count | None = None
    """Channels of a feature map are stored and moved in multiples of this."""
    bytes: Count | None = None
    """Tensors start at multiples of this many bytes."""


class Memory(Section):
    """Memories, in bytes, and how fast they are."""

    weights_bytes: Size | None = None
    """Memory that holds weights only."""
    activations_bytes: Size | None = None
    """Memory that holds activations only."""
    bias_bytes: Size | None = None
    """Memory that holds biases only."""
    shared_bytes: Size | None = None
    """On-chip memory for weights and activations together."""
    cache_bytes: Size | None = None
    """On-chip buffer that the compiler fills by itself, beside shared_bytes."""
    onchip_bw: Rate | None = None
    """Bandwidth of the on-chip memory, bytes per second."""
    external_bw: Rate | None = None
    """Bandwidth of the memory outside, bytes per second."""
    onchip_burst: Count | None = None
    """Bytes of the on-chip memory that a shorter access costs as well."""
    external_burst: Count | None = None
    """Bytes of the memory outside that a shorter access costs as well."""
    onchip_latency: Size | None = None
    """Cycles from a request to the on-chip memory to its first byte, reading or writing."""
    external_latency: Size | None = None
    """Cycles from a request to the memory outside to its first byte."""
    external_write_latency: Size | None = None
    """Cycles that a write to the memory outside takes beside its bytes."""
    edges_outside: bool = False
    """What enters and leaves the network lies outside: the on-chip memory is the target's alone."""
    channel_bytes: Size | None = None
    """Bytes beside the weights that each output channel reads: bias, multiplier, shift."""
    channel_lot: Count | None = None
    """Bytes of these that the output unit asks for at once; it waits a latency for each lot of a
    block. Absent: as long as they take on the way."""
    external_in_flight: Mapping[Traffic, Count] = {}
    """Bytes that can be under way to or from outside at once, by what moves: read buffers, bursts
    under way."""
    onchip_in_flight: Mapping[Traffic, Count] = {}
    """The same of the on-chip memory."""
    in_flight_share: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Share of the bytes that can be under way that are."""
    staged_channels: Count | None = None
    """Output channels, at least, whose staged weights are there before a layer begins; the others
    come meanwhile. Absent: those of a block."""
    stages_weights: bool = False
    """Weights that are read for several blocks are copied to the on-chip memory while the layer
    before computes, where there is room."""
    block_buffers: Mapping[BlockPart, Count] = {}
    """Bytes of the accelerator's own buffers for blocks."""
    block_granules: Mapping[BlockPart, Count] = {}
    """Bytes in whose multiples these buffers are shared out."""
    block_copies: Count = 2
    """Blocks that the buffers hold: one is computed, the next comes in."""
    depthwise_block_copies: Count | None = None
    """The same of depthwise layers and pools; absent: as of other layers."""
    external_kind: ExternalKind | None = None
    """Memory outside the chip."""
    weight_packing: WeightPacking = WeightPacking.DENSE
    """How weights lie in memory."""
    word_bits: Literal[8, 16, 32, 64, 128, 256] = 8
    """Width of a memory word: what a line of a memory image holds."""
    byte_order: ByteOrder = ByteOrder.LITTLE
    """Where the first byte of a word lies."""
    code_order: CodeOrder = CodeOrder.LOW_FIRST
    """Where the first of several codes in one byte lies: 2- and 4-bit codes are packed."""


class Compute(Section):
    """How fast it computes."""

    clock_hz: Count | None = None
    """Clock, in Hz."""
    macs_per_cycle: Mapping[WidthPair, Rate] = {}
    """Multiply-accumulates per cycle of all cores together, by widths."""
    depthwise_macs_per_cycle: Rate | None = None
    """The same of depthwise layers and pools, 8-bit; absent: as of other layers."""
    pool_cells_per_cycle: Rate | None = None
    """Cells that pools take in per cycle; absent: as depthwise layers."""
    weights_per_cycle: Rate | None = None
    """Weights that reach the multipliers per cycle, the zeros of idle ones among them; each reaches
    them once a layer at least."""
    elementwise_per_cycle: Rate | None = None
    """Elements of Add, Mul and their like per cycle."""
    output_elems_per_cycle: Rate | None = None
    """Outputs of weighted operators that are requantized and written per cycle."""
    elements_per_cycle: Mapping[OpType, Rate] = {}
    """Outputs per cycle of single operators, before the two above."""
    fused: tuple[OpType, ...] = ()
    """Operators that are computed while the layer before them writes its result; Add and Mul then
    take their own cycles there."""
    means_load_weights: bool = False
    """GlobalAveragePool runs as a depthwise layer whose weights are ones."""
    moves_as_pools: bool = False
    """Pad, Slice, Transpose and their like run as pools of one cell."""
    dilation_max: Count | None = None
    """A convolution that is dilated more has zeros in its kernel, of which this factor is spared
    where it divides the dilation. Absent: dilation costs nothing."""
    passes: Mapping[OpType, tuple[Size, Size]] = {}
    """Operators that are several elementwise ones: over all elements, and over one value for each
    row of the last axis."""
    joins_in_place: bool = False
    """What a Concat joins is written in its place where nothing else reads it; the rest is copied,
    a pool of one cell each."""
    pads_by_sides: bool = False
    """Pad is a copy of its input and one for each side, from constants that lie with weights."""
    groups_apart: bool = False
    """Each group of a convolution runs as a layer of its own."""
    cores: Count | None = None
    """Units that work side by side; for reports."""
    blocks_in_flight: Count | None = None
    """Blocks that can be under way at once: a stage takes no less for one than its whole way over
    this. Absent: no limit."""
    latency_cycles: Size | None = None
    """Cycles that each layer costs before it computes."""


class Limits(Section):
    """What a whole model must stay under."""

    max_layers: Count | None = None
    """Weighted and pooling layers."""
    max_params: Count | None = None
    """Weights and biases."""
    max_macs: Count | None = None
    """Multiply-accumulates of one inference at batch 1."""


class Verify(Section):
    """How the target is checked without a device, and how close it must come."""

    tool: VerifyTool = VerifyTool.NONE
    """The tool that stands in for the target."""
    mode: VerifyMode = VerifyMode.RUN
    """What the tool can tell."""
    needs_device: bool = False
    """The tool needs the device itself."""
    max_lsb_per_op: Size = 0
    """Largest difference of one operator from the reference, in codes."""
    max_lsb_end: Size | None = None
    """Largest difference at the end of the graph, in codes; absent: no limit."""
    rate_max: Annotated[float, Field(ge=0, le=1)] | None = None
    """Largest share of codes of one operator that differ; absent: no limit."""
    options: Mapping[str, str] = {}
    """Session options of the tool, as text."""
