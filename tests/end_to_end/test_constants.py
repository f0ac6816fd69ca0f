"""Constants beside computed tensors through the whole job."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor, nn

from deployq import pipeline
from deployq.data import Dataset
from deployq.verifier.report import Judged, Limits
from deployq_calibration.calibration_settings import CalibrationSettings
from tests.graph.networks import Net

TOKENS, WIDTH = 6, 8


def beside(m: Any, x: Tensor) -> Tensor:
    return torch.cat([m.token.expand(x.shape[0], -1, -1), m.one(x)], 1)


@pytest.mark.parametrize("body", [
    lambda m, x: m.two(m.one(x) * m.number), lambda m, x: m.one(x) @ m.vector,
    lambda m, x: m.two(beside(m, x)),
    lambda m, x: (m.one(x) * m.vector, m.one(x) @ m.vector),
], ids=["number", "vector", "token alone", "vector twice"])  # fmt: skip
def test_constants_verify(body: Callable[..., Any], tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = Net(
        body, one=nn.Linear(WIDTH, WIDTH), two=nn.Linear(WIDTH, WIDTH),
        number=nn.Parameter(torch.tensor(0.7)), vector=nn.Parameter(torch.randn(WIDTH)),
        token=nn.Parameter(torch.randn(1, 1, WIDTH)),
    ).eval()  # fmt: skip
    x = np.random.default_rng(1).normal(size=(96, TOKENS, WIDTH)).astype(np.float32)
    data = Dataset({"x": x})
    prepared = pipeline.prepare(net, [torch.zeros(2, TOKENS, WIDTH)], "ort-cpu")
    pipeline.calibrate(prepared, data, CalibrationSettings(corrections=()))
    bundle = pipeline.export(prepared, tmp_path / "bundle", data)
    report = pipeline.verify(bundle.path, data, limits=Limits(1, 1, 1), latency_runs=1)
    assert report.misses() == []
    assert all(p.different == 0 for p in report.parities if p.judged is Judged.EXACT)
    operators = [node.op_type for node in onnx.load(bundle.path / "model.onnx").graph.node]
    assert operators.count("Pad") <= 1  # of x: a constant is stored as it is read
