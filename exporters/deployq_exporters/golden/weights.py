"""The weights of a layer as a memory holds them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from deployq.qgraph.nodes import Linear
from deployq.qparams import IntArray
from deployq_exporters.golden.packing import Bytes, Packing, bit_planes


@dataclass(frozen=True, eq=False)
class StoredWeight:
    """Weights of ``outputs`` x ``channels`` x ``cells``, and where each lies.

    Args:
        codes: as the graph has them; packed by the writers.
        planes: bytes of the bit planes, where the memory holds weights so.
        plane_shape: runs, cells and padded channels of a plane: of each output its input channels;
            of a depthwise convolution one run, whose channels are the outputs.
        used: channels that are no padding.
        bits: of a stored code: of the container in bytes, of the type in planes.
        output_stride, channel_stride: of dense codes, in elements; those of cells are 1.
        plane_output_stride: in a plane.
    """

    codes: IntArray
    planes: Bytes | None
    plane_shape: tuple[int, int, int]
    used: int
    bits: int
    is_signed: bool
    outputs: int
    channels: int
    cells: int
    output_stride: int
    channel_stride: int
    plane_output_stride: int


def stored_weight(node: Linear, packing: Packing) -> StoredWeight:
    """Weights of a Conv or ConvTranspose, (O, C, kh, kw), or of a Gemm or MatMul, (K, N)."""
    qtype, codes = node.weight_qparams.qtype, node.weight
    is_conv = codes.ndim == 4
    outputs, channels = codes.shape[:2] if is_conv else codes.shape[::-1]
    cells = int(np.prod(codes.shape[2:]))
    flat = codes.reshape(outputs, channels, cells) if is_conv else codes.T[:, :, None]
    is_depthwise = is_conv and channels == 1
    laid = flat.transpose(1, 2, 0) if is_depthwise else flat.transpose(0, 2, 1)
    runs, _, used = laid.shape
    padded = packing.padded(used)
    return StoredWeight(
        codes=codes,
        planes=bit_planes(laid, qtype.bits, packing) if packing.planes else None,
        plane_shape=(runs, cells, padded),
        used=used,
        bits=qtype.bits if packing.planes else qtype.container.bits,
        is_signed=qtype.signed,
        outputs=outputs,
        channels=channels,
        cells=cells,
        output_stride=channels * cells if is_conv else 1,
        channel_stride=cells if is_conv else outputs,
        plane_output_stride=1 if is_depthwise else cells * padded,
    )
