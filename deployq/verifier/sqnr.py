"""Signal to quantization noise of tensors: ``10 log10(sum x^2 / sum (x - q)^2)`` in dB."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from deployq.verifier.three_ways import Ways


@dataclass(frozen=True)
class LayerSqnr:
    """What quantization leaves of one tensor, in dB; None where signal or noise is zero.

    Args:
        tensor: its name; of a layer, that of its output.
        fed_db: each layer reads the float network's tensors, on their grids.
        whole_db: fake-quantized from the input on.
        weight_db: of the layer's weight alone; None where there is none.
    """

    tensor: str
    fed_db: float | None
    whole_db: float | None
    weight_db: float | None = None


def sqnr_db(signal: Tensor, quantized: Tensor) -> float | None:
    """SQNR of one tensor against its quantized form, in dB; None where either power is zero."""
    return decibels(_power(signal), _power(signal - quantized))


def decibels(power: float, noise: float) -> float | None:
    """The ratio of two powers in dB; None where either is zero or not finite."""
    if not (power > 0 and noise > 0 and math.isfinite(power) and math.isfinite(noise)):
        return None
    return 10 * math.log10(power / noise)


def _power(x: Tensor) -> float:
    return float(torch.linalg.vector_norm(x, dtype=torch.float64)) ** 2


def layer_sqnr(tensor: str, ways: Ways, weight_db: float | None) -> LayerSqnr:
    """Both figures of an activation from the three ways it was computed in."""
    fed, whole = sqnr_db(ways.float, ways.fed), sqnr_db(ways.float, ways.whole)
    return LayerSqnr(tensor, fed, whole, weight_db)
