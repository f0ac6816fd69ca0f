"""Codes and top-1 of ResNet-20 on CIFAR-10, float weights, calibrated after training.

    python -m benchmarks.parity_resnet20 [--images 6000]

For W8A8 (ort-cpu, int8-npu) and W4A8 (int4-npu): codes compared and different, layer by layer, for
the reference against the simulator, ONNX Runtime's integer kernels against the simulator, and the
un-optimised file against the reference; top-1 of float, reference and runtime. Calibrated on 512
training images, reported on test images 2000 to 7999.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

import torch

from benchmarks.zoo import REPORT, cifar10, cifar10_resnet20
from deployq import pipeline
from deployq.data import Dataset
from deployq.graph.capture import capture
from deployq.progress import progress
from deployq.rendering import print_report
from deployq.verifier.report import Report
from deployq.verifier.verification import steps_of

TARGETS = ("ort-cpu", "int8-npu", "int4-npu")
CALIBRATION = slice(0, 512)


def run(target: str, data: Dataset) -> Report:
    """Prepare, calibrate, export and verify for one target."""
    calibration = cifar10("cifar10_train10k", CALIBRATION)
    captured = capture(cifar10_resnet20(), [torch.zeros(2, 3, 32, 32)])
    prepared = pipeline.calibrate(pipeline.prepare(captured, (), target), calibration)
    with tempfile.TemporaryDirectory() as folder, progress(steps_of(data)) as advance:
        bundle = Path(folder) / target
        pipeline.export(prepared, bundle, calibration)
        return pipeline.verify(bundle, data, progress=advance)


def main() -> None:
    """Print a report for each target and one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=6000)
    data = cifar10("cifar10_test8k", REPORT).take(parser.parse_args().images)
    summary = {}
    for target in TARGETS:
        report = run(target, data)
        print_report(report)
        summary[target] = {
            "top1": dict(report.accuracy),
            "codes": {p.name: [p.compared, p.different] for p in report.parities},
            "misses": report.misses(),
        }
    print(json.dumps(summary, sort_keys=True))


if __name__ == "__main__":
    main()
