"""Layers with weights, in pieces: sums for the last cache, lines of them for the first ones.

A line is a row of cells with all their channels, (W C), or one vector of a product. Multipliers are
repeated for its cells, so that each pass over it is one long loop.
"""

from __future__ import annotations

from math import prod
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from deployq.arithmetic.contract import Contract
from deployq.arithmetic.kernels.codes import torch_dtype
from deployq.arithmetic.kernels.pieces import PIECE, SUMS, pieces
from deployq.arithmetic.kernels.requantize import (
    Requantize,
    fit_accumulator,
    real_sums,
    requantizer,
)
from deployq.arithmetic.rounding import Float64Array
from deployq.qgraph.nodes import Linear
from deployq.qparams import FloatArray, IntArray, QParams
from deployq.simulator.biases import PlacedBias, placed_bias
from deployq.simulator.fit import MOST, linear_shape
from deployq.simulator.sums import channel_axis, layer_sums

Values = TypeVar("Values", FloatArray, Float64Array, IntArray)


def linear_codes(node: Linear, x: Tensor, qx: QParams, out: QParams, contract: Contract) -> Tensor:
    """Codes of a layer in the torch type of ``out``, the channels of images last in memory.

    Args:
        x: codes, (N, C, H, W) or (..., K).
        qx: their parameters.
    """
    placed, shape = _placed(node, qx, contract), linear_shape(node, MOST, x.shape)
    sums, axis = layer_sums(node, qx, biased=placed.steps is not None), channel_axis(node)
    convolves = axis == 1
    samples = x if convolves else x.reshape(-1, x.shape[-1])
    height, line = (shape[2], shape[3] * shape[1]) if convolves else (1, shape[-1])
    requantize = _requantizer(node, placed, line // shape[axis], qx, out, contract)
    codes = _empty(len(samples) * height, line, out)
    for piece in pieces(len(samples), height * line, SUMS):
        acc = fit_accumulator(sums(samples[piece]), contract.accumulator, "sum", channel_axis=axis)
        lines = (acc.permute(0, 2, 3, 1) if convolves else acc).reshape(-1, line)
        into = codes[piece.start * height : piece.stop * height]
        for part in pieces(len(lines), line, PIECE):
            requantize(lines[part], into[part])
    if not convolves:
        return codes.view(shape)
    return codes.view(shape[0], *shape[2:], shape[1]).permute(0, 3, 1, 2)


def linear_reals(node: Linear, x: Tensor, qx: QParams, contract: Contract) -> Tensor:
    """What the sums of a product stand for, float32 (..., N); see ``requantize.real_sums``.

    Args:
        x: codes, (..., K).
        qx: their parameters.
    """
    placed, shape = _placed(node, qx, contract), linear_shape(node, MOST, x.shape)
    sums = layer_sums(node, qx, biased=placed.steps is not None)
    rows, reals = x.reshape(-1, x.shape[-1]), torch.empty(prod(shape[:-1]), shape[-1])
    for piece in pieces(len(rows), shape[-1], SUMS):
        acc = fit_accumulator(sums(rows[piece]), contract.accumulator, "sum", channel_axis=-1)
        reals[piece] = real_sums(
            acc, qx.scale[()], node.weight_qparams.scale, channel_axis=-1, late=placed.reals
        )
    return reals.view(shape)


def _placed(node: Linear, qx: QParams, contract: Contract) -> PlacedBias:
    return placed_bias(node, (qx.scale[()], node.weight_qparams.scale), contract)


def _empty(rows: int, columns: int, out: QParams) -> Tensor:
    """In the memory of NumPy, which asks for large pages: fewer faults than in that of torch."""
    kind = np.dtype(str(torch_dtype(out.qtype)).removeprefix("torch."))
    return torch.from_numpy(np.empty((rows, columns), kind))


def _requantizer(
    node: Linear, placed: PlacedBias, cells: int, qx: QParams, out: QParams, contract: Contract
) -> Requantize:
    """From lines of so many cells to their codes."""
    form = contract.form(node.form_name)
    removed = node.removed(int(qx.zero_point)) if form.sum_cut else None
    return requantizer(
        2, qx.scale[()], _repeated(node.weight_qparams.scale, cells), out,
        form, torch.device("cpu"), bounds=node.bounds,
        bias=None if placed.steps is None else _repeated(placed.steps, cells),
        removed=None if removed is None else _repeated(removed, cells),
        late=None if placed.reals is None else _repeated(placed.reals, cells),
    )  # fmt: skip


def _repeated(values: Values, cells: int) -> Values:
    """(C,) values once for each cell; what all channels share, as it is."""
    return values if values.size == 1 else np.tile(values, cells)
