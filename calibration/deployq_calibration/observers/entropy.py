"""The range whose codes lose the least information: TensorRT's calibration."""

from __future__ import annotations

import numpy as np
import torch

from deployq.arithmetic.rounding import Float64Array
from deployq.graph.fake_quantize import FakeQuantize
from deployq.graph.scales.ranges import Grid, qparams_of_range
from deployq_calibration.observers.distribution import Distribution
from deployq_calibration.observers.mse import HistogramObserver

ENTROPY_BINS = 4096
"""Equal bins from end to end: 2048 on each side of a symmetric tensor, as TensorRT's."""

RANGES = 128
"""Ranges that are tried, from all bins to one bin a code."""


class EntropyObserver(HistogramObserver):
    """The range with the least Kullback-Leibler divergence between the tensor and its codes.

    S. Migacz, "8-bit Inference with TensorRT", GTC 2017: of the histogram inside a candidate range,
    P is the counts, with all that is clipped added to the outermost bins; Q is the counts without
    it, summed for each code and spread evenly over the code's bins that are not empty. Chosen is
    the least ``sum P log(P / Q)``, both normalized. There: |x|, 2048 bins, 128 codes. Here: bins of
    both signs, the codes of the quantizer with its zero point, both ends shrunk together. Zeros,
    which every grid holds exactly, are left out (TensorRT leaves out the first bin).

    Where a code is narrower than a bin (above 12 bits) the widest range is taken.
    """

    def choose(self, quantizer: FakeQuantize, distribution: Distribution) -> Grid:
        low, high = self.ends(distribution)
        edges = torch.linspace(0, 1, ENTROPY_BINS + 1, dtype=torch.float64) * (high - low) + low
        counts = _equal_bins(distribution, edges.numpy())
        centres = (edges[:-1] + edges[1:]) / 2
        shrink = _shrinks(quantizer)
        scales, zero_points = qparams_of_range(quantizer, low * shrink, high * shrink)
        codes = torch.round(centres / scales.double()[:, None]) + zero_points[:, None]
        found = [_divergence(counts, row, quantizer) for row in codes.long().numpy()]
        best = int(np.argmin(found))
        return scales[best], zero_points[best]


def _shrinks(quantizer: FakeQuantize) -> torch.Tensor:
    """From the whole range to one bin a code, float64."""
    codes = quantizer.qtype.qmax - quantizer.qtype.qmin + 1
    return torch.linspace(1, min(codes / ENTROPY_BINS, 1.0), RANGES, dtype=torch.float64)


def _equal_bins(distribution: Distribution, edges: Float64Array) -> Float64Array:
    """Counts between other edges, each bin of the histogram spread evenly; float64."""
    below = np.concatenate([[0], np.cumsum(distribution.counts.numpy())]).astype(np.float64)
    return np.diff(np.interp(edges, distribution.edges.numpy(), below))


def _divergence(counts: Float64Array, codes: Float64Array, quantizer: FakeQuantize) -> float:
    """KL(P || Q) of one grid; infinite where nothing is inside it.

    Args:
        counts: of each bin.
        codes: of each bin, unsaturated, ascending.
    """
    qmin, qmax = quantizer.qtype.qmin, quantizer.qtype.qmax
    first, last = np.searchsorted(codes, [qmin, qmax + 1])
    inside = counts[first:last]
    if not inside.any():
        return float("inf")
    p = inside.copy()
    p[0] += counts[:first].sum()
    p[-1] += counts[last:].sum()
    level = codes[first:last] - codes[first]
    filled = np.bincount(level, inside > 0)
    share = np.bincount(level, inside) / np.maximum(filled, 1)
    used = inside > 0
    q = share[level][used]
    # P of a bin that Q holds to be empty: only at the ends; its mass goes to the divergence whole
    lost = p[~used].sum() / p.sum()
    p, q = p[used] / p.sum(), q / q.sum()
    return float((p * np.log(p / q)).sum() + lost * np.log(counts.sum() + 1))
