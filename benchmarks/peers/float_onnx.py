"""The float ONNX file that peers start from, by torch's own exporter."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path

import torch
from onnxruntime.quantization.shape_inference import quant_pre_process
from torch import nn

from benchmarks.models.spec import INPUT, ModelSpec


def export_float(model: nn.Module, spec: ModelSpec, path: Path) -> None:
    """``torch.onnx.export(dynamo=True)`` with a dynamic batch."""
    with contextlib.redirect_stdout(io.StringIO()):
        program = torch.onnx.export(
            model, (spec.example(),), dynamo=True, verbose=False, input_names=[INPUT],
            dynamic_shapes=({0: torch.export.Dim("batch")},),
        )  # fmt: skip
    assert program is not None
    program.save(str(path))


def preprocess(source: Path, path: Path) -> None:
    """Shape inference and constant folding, as ONNX Runtime's quantizer recommends."""
    quant_pre_process(str(source), str(path))
