"""ResNet-20 with real weights: 0 codes different in more than 10 million."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from benchmarks.zoo import DATA, REPORT, cifar10, cifar10_resnet20
from deployq import pipeline
from deployq.data import load_arrays
from deployq.graph.capture import capture
from deployq.verifier.report import Judged
from deployq_calibration.calibration_settings import CalibrationSettings
from deployq_targets.checks import Severity

pytestmark = pytest.mark.skipif(
    not (DATA / "models/cifar10_resnet20.pt").is_file(), reason=f"no real data in {DATA}"
)


def test_rebuilt_network_is_the_stored_one() -> None:
    images = cifar10("cifar10_test8k", slice(0, 32))
    stored = load_arrays(DATA / "models/cifar10_resnet20.ref.npz")["logits"]
    with torch.no_grad():
        logits = cifar10_resnet20()(torch.tensor(images.inputs["x"]))
    # another summation order than the run that stored them
    torch.testing.assert_close(logits, torch.tensor(stored), atol=1e-4, rtol=0)


@pytest.mark.parametrize("target", ["ort-cpu", "int4-npu"])
def test_resnet20_verifies(target: str, tmp_path: Path) -> None:
    calibration = cifar10("cifar10_train10k", slice(0, 128))
    captured = capture(cifar10_resnet20(), [torch.zeros(2, 3, 32, 32)])
    quick = CalibrationSettings(iterations=5)  # every correction, none of its patience
    prepared = pipeline.calibrate(pipeline.prepare(captured, (), target), calibration, quick)
    pipeline.export(prepared, tmp_path / "bundle", calibration)
    data = cifar10("cifar10_test8k", REPORT).take(64)
    report = pipeline.verify(tmp_path / "bundle", data, latency_runs=3)
    assert report.misses() == []
    exact = [parity for parity in report.parities if parity.judged is Judged.EXACT]
    assert [parity.different for parity in exact] == [0, 0, 0, 0]
    assert all(parity.compared > 10**7 for parity in exact)
    assert report.latency.integer_share == 1.0


def test_shortcuts_of_a_target_without_slices_are_convolutions(tmp_path: Path) -> None:
    calibration = cifar10("cifar10_train10k", slice(0, 64))
    captured = capture(cifar10_resnet20(), [torch.zeros(2, 3, 32, 32)])
    plain = CalibrationSettings(corrections=())  # of 2 bits: its codes are of weight, not its use
    prepared = pipeline.calibrate(pipeline.prepare(captured, (), "int2-vlsi"), calibration, plain)
    assert [s.name for s in prepared.plan.selections] == ["layer2.0.pad", "layer3.0.pad"]
    pipeline.export(prepared, tmp_path / "bundle", calibration)
    found = pipeline.check(tmp_path / "bundle", "int2-vlsi")
    assert [finding for finding in found if finding.severity is Severity.ERROR] == []
    data = cifar10("cifar10_test8k", REPORT).take(64)
    report = pipeline.verify(tmp_path / "bundle", data, latency_runs=3)
    exact = [parity for parity in report.parities if parity.judged is Judged.EXACT]
    assert [parity.different for parity in exact] == [0, 0, 0, 0]
    assert all(parity.compared > 10**7 for parity in exact)
