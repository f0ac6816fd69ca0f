"""NNCF's post-training quantization on its ONNX backend, with its defaults."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx

from benchmarks.models.spec import INPUT
from deployq.data import Dataset


def quantize(source: Path, path: Path, data: Dataset) -> None:
    """Write the quantized file of a pre-processed float file; all samples are its subset."""
    import nncf

    samples = [{INPUT: np.array(next(iter(one.inputs.values())))} for one in data.batches(1)]
    model = onnx.load(source)
    quantized = nncf.quantize(model, nncf.Dataset(samples), subset_size=len(samples))
    onnx.save(quantized, path)
