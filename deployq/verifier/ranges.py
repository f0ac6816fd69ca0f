"""Where the float values of a tensor lie, and where its grid does."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from deployq.qparams import QParams

BINS = 64
CHUNK = 1 << 22
"""Values counted at once: histc counts in float32, which is exact up to ``2**24``."""


@dataclass(frozen=True)
class TensorRange:
    """Float values of one tensor and its grid, in one unit.

    Weights are in units of the scale of their own channel (LSB, less the zero point), so that one
    grid stands for all channels; activations are in the network's reals.

    Args:
        tensor: its name; of a weight, that of its layer.
        kind: ``activation`` or ``weight``.
        qtype: name of the codes' type, ``u8``.
        codes: lowest and highest code.
        scale: lowest and highest over the channels.
        zero_point: of the codes; 0 for weights on symmetric grids.
        low, high: lowest and highest float value; finite values only.
        grid: lowest and highest value that the grid has.
        outside: share of the values more than half a step beyond the grid, in [0, 1].
        counts: histogram of the values, :data:`BINS` equal bins from ``low`` to ``high``.
    """

    tensor: str
    kind: str
    qtype: str
    codes: tuple[int, int]
    scale: tuple[float, float]
    zero_point: int
    low: float
    high: float
    grid: tuple[float, float]
    outside: float
    counts: tuple[int, ...]


def activation_range(tensor: str, values: Tensor, qparams: QParams) -> TensorRange:
    """Range of an activation, whose grid has one scale."""
    return _range(tensor, "activation", values, float(qparams.scale), qparams)


def weight_range(layer: str, weight: Tensor, qparams: QParams) -> TensorRange:
    """Range of a weight in steps of its grid.

    Args:
        layer: its name.
        weight: what the weight quantizer sees, (O, C/g, kh, kw) or (O, C).
        qparams: of the weight quantizer.
    """
    scale, _ = qparams.expanded(tuple(weight.shape))
    steps = weight.detach().cpu() / torch.from_numpy(scale.copy())
    return _range(layer, "weight", steps, 1.0, qparams)


def _range(tensor: str, kind: str, values: Tensor, step: float, qparams: QParams) -> TensorRange:
    qtype, zero_point = qparams.qtype, int(qparams.zero_point.flat[0])
    flat = values.detach().flatten()
    finite = flat if bool(torch.isfinite(flat).all()) else flat[torch.isfinite(flat)]
    low, high = (float(finite.min()), float(finite.max())) if finite.numel() else (0.0, 0.0)
    grid = (qtype.qmin - zero_point) * step, (qtype.qmax - zero_point) * step
    beyond = (flat < grid[0] - step / 2) | (flat > grid[1] + step / 2)
    return TensorRange(
        tensor, kind, qtype.name, (qtype.qmin, qtype.qmax),
        (float(qparams.scale.min()), float(qparams.scale.max())), zero_point,
        low, high, grid, int(beyond.sum()) / max(beyond.numel(), 1), _counts(finite, low, high),
    )  # fmt: skip


def _counts(values: Tensor, low: float, high: float) -> tuple[int, ...]:
    if low == high:  # one value, or none: there is nothing to spread
        return (values.numel(), *[0] * (BINS - 1))
    parts = torch.split(values.float(), CHUNK)
    counted = torch.stack([torch.histc(part, BINS, low, high).long() for part in parts])
    return tuple(counted.sum(0).tolist())
