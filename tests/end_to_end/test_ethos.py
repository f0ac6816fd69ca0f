"""A small convolutional network on three Arm Ethos-U profiles: from float to the simulator."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from deployq import pipeline
from deployq.data import Dataset
from deployq.verifier.report import Limits
from deployq_calibration.calibration_settings import CalibrationSettings
from deployq_exporters.runtimes.ethos_u import compile_by_vela
from deployq_targets import load_profile
from tests.graph.test_selections import Residual, option_a

TARGETS = ("ethos-u55-128", "ethos-u65-512", "ethos-u85-512")


def network(stride: int) -> nn.Module:
    """Two pools, a depthwise layer, and classes from a global pool: no Gemm."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(8, 8, 3, padding=1, groups=8), nn.BatchNorm2d(8), nn.ReLU6(), nn.AvgPool2d(2),
        nn.Conv2d(8, 10, 3, stride, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
    ).eval()  # fmt: skip


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("stride", [3, 4])
def test_what_the_file_computes_is_what_the_target_computes(
    target: str, stride: int, tmp_path: Path
) -> None:
    net, x = network(stride), torch.randn(32, 3, 16, 16)
    prepared = pipeline.prepare(net, [x[:2]], target)
    # Ethos-U takes strides up to 3; a layer beyond is the host's, and its weights stay in float
    assert len(prepared.plan.layers) == (3 if stride == 3 else 2)
    assert [("op.Conv.stride = 4" in line) for line in prepared.plan.floats] == [True] * (
        stride - 3
    )
    data = Dataset({next(iter(prepared.inputs)): x.numpy()})
    pipeline.calibrate(prepared, data)
    pipeline.export(prepared, tmp_path / "b", data)
    (found,) = pipeline.simulate(tmp_path / "b", data.inputs).outputs.values()
    wanted = net(x).detach().numpy()
    noise = float(np.square(wanted - found).sum())
    # 8 bits of a few layers leave tens of dB; a wrong scale or zero point leaves none
    assert 10 * np.log10(float(np.square(wanted).sum()) / noise) > 25
    report = pipeline.verify(tmp_path / "b", data, limits=Limits(1, 1, 1), latency_runs=1)
    exact = [parity for parity in report.parities if parity.judged == "exact"]
    # the host's layer runs in float in ONNX Runtime too, and is compared layer by layer
    assert len(exact) == (4 if stride == 3 else 2)
    assert all(parity.different == 0 for parity in exact)
    if stride == 3:
        assert not report.misses()


def test_an_option_a_shortcut_stays_off_the_processor(tmp_path: Path) -> None:
    torch.manual_seed(0)
    x = torch.randn(16, 3, 9, 9)
    prepared = pipeline.prepare(Residual(option_a).eval(), [x[:2]], TARGETS[0])
    data = Dataset({"x": x.numpy()})
    pipeline.calibrate(prepared, data, CalibrationSettings(corrections=()))
    pipeline.export(prepared, tmp_path / "b", data, runtimes="ethos-u")
    content = (tmp_path / "b" / "model.tflite").read_bytes()
    for target in (*TARGETS, "ethos-u55-256"):
        report = compile_by_vela(content, load_profile(target)).report
        assert report.cpu == () and report.cycles.total > 0, target
        assert {"StridedSlice", "Pad"} <= {operator.kind for operator in report.npu}
