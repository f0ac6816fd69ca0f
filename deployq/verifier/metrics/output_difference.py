"""Output difference: SQNR and the largest difference of the outputs from the float network's."""

from __future__ import annotations

import math

import numpy as np

from deployq.verifier.metrics.metric import Batch, Metric


class OutputDifferenceMeter:
    """SQNR in dB, ``10 log10(sum(float^2) / sum((float - output)^2))``, over all outputs.

    Infinite where nothing differs. Needs no labels.
    """

    def __init__(self) -> None:
        self.signal = self.noise = self.largest = 0.0

    def add(self, batch: Batch) -> None:
        for name, real in batch.floats.items():
            wanted = real.astype(np.float64)
            gap = wanted - batch.outputs[name]
            self.signal += float(np.square(wanted).sum())
            self.noise += float(np.square(gap).sum())
            self.largest = max(self.largest, float(np.abs(gap).max(initial=0.0)))

    def values(self) -> dict[str, float]:
        return {"SQNR (dB)": self._sqnr(), "max |difference|": self.largest}

    def _sqnr(self) -> float:
        if not self.noise:
            return math.inf
        return 10 * math.log10(self.signal / self.noise) if self.signal else -math.inf


OUTPUT_DIFFERENCE = Metric(
    "output-difference", True, OutputDifferenceMeter, needs_labels=False, against_float=True
)
