"""NNCF's post-training quantization on its ONNX backend: defaults, or for transformers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx

from benchmarks.models.spec import INPUT
from deployq.data import Dataset


def quantize(source: Path, path: Path, data: Dataset, *, transformer: bool = False) -> None:
    """Write the quantized file of a pre-processed float file; all samples are its subset.

    Args:
        transformer: the model type that NNCF's documentation asks for where there is attention,
            with the mixed preset (unsigned activations where they are asymmetric).
    """
    import nncf

    samples = [{INPUT: np.array(next(iter(one.inputs.values())))} for one in data.batches(1)]
    model = onnx.load(source)
    kind = nncf.ModelType.TRANSFORMER if transformer else None
    preset = nncf.QuantizationPreset.MIXED if transformer else None
    quantized = nncf.quantize(
        model, nncf.Dataset(samples), subset_size=len(samples), model_type=kind, preset=preset
    )
    onnx.save(quantized, path)
