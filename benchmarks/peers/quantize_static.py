"""``onnxruntime.quantization.quantize_static``: QDQ, weights per channel, unsigned activations."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    QuantType,
    quantize_static,
)

from benchmarks.models.spec import INPUT
from deployq.data import Dataset

METHODS = {
    "MinMax": CalibrationMethod.MinMax,
    "Entropy": CalibrationMethod.Entropy,
    "Percentile": CalibrationMethod.Percentile,
}
BATCH = 8
PART = 4
"""Batches whose tensors the histogram methods hold in memory at once."""


class Reader(CalibrationDataReader):  # type: ignore[misc] # its base is untyped
    """Batches of the calibration samples, whole or in parts."""

    def __init__(self, data: Dataset) -> None:
        self._batches = list(data.batches(BATCH))
        if len(self._batches[-1]) < BATCH:  # parts must divide evenly
            self._batches.pop()
        del self._batches[len(self._batches) // PART * PART :]
        self.set_range(0, len(self._batches))

    def __len__(self) -> int:
        return len(self._batches)

    def set_range(self, start_index: int, end_index: int) -> None:
        """Read these batches from now on."""
        self._rest = iter(self._batches[start_index:end_index])

    def get_next(self) -> dict[str, np.ndarray] | None:
        """The next batch, or None."""
        batch = next(self._rest, None)
        return None if batch is None else {INPUT: next(iter(batch.inputs.values()))}


def quantize(source: Path, path: Path, data: Dataset, method: str) -> None:
    """Write the quantized file of a pre-processed float file."""
    quantize_static(
        str(source), str(path), Reader(data), quant_format=QuantFormat.QDQ, per_channel=True,
        activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8,
        calibrate_method=METHODS[method], extra_options={"CalibStridedMinMax": PART},
    )  # fmt: skip
