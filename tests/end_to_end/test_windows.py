"""Sums over windows and maxima through the whole job, with the codes of the reference."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from deployq import pipeline
from deployq.data import Dataset
from deployq.verifier.report import Judged, Limits
from deployq_calibration.calibration_settings import CalibrationSettings


class Windows(nn.Module):
    """Overlapping windows that a layer mixes and that are summed; maxima of channels and places."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.mix, self.head = nn.Conv2d(1, 4, 3), nn.Linear(36, 36), nn.Linear(4, 10)

    def forward(self, x: Tensor) -> Tensor:
        maps = F.relu(self.stem(x))
        windows = F.unfold(maps, 3, padding=1, stride=2).transpose(1, 2)
        maps = F.fold(self.mix(windows).transpose(1, 2), (6, 6), 3, padding=1, stride=2)
        maps = maps * torch.sigmoid(maps.amax(1, keepdim=True))
        y: Tensor = self.head(maps.flatten(2).max(-1)[0])
        return y


@pytest.mark.parametrize("target", ["ort-cpu", "int8-npu"])
def test_windows_and_maxima_have_the_codes_of_the_reference(target: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    x = np.random.default_rng(0).normal(size=(96, 1, 8, 8)).astype(np.float32)
    data = Dataset({"x": x})
    prepared = pipeline.prepare(Windows().eval(), [torch.zeros(2, 1, 8, 8)], target)
    in_float = target == "ort-cpu"  # it has no kernel of integers for transposed convolutions
    assert [line.partition(":")[0] for line in prepared.plan.floats] == in_float * [
        "conv_transpose2d"
    ]
    pipeline.calibrate(prepared, data, CalibrationSettings(corrections=()))
    bundle = pipeline.export(prepared, tmp_path / "bundle", data)
    report = pipeline.verify(bundle.path, data, limits=Limits(1, 1, 1), latency_runs=1)
    assert report.misses() == []
    assert all(p.different == 0 for p in report.parities if p.judged is Judged.EXACT)
