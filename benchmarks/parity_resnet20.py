"""Codes and top-1 of ResNet-20 on CIFAR-10, float weights, calibrated after training.

    python -m benchmarks.parity_resnet20 [--images 1000]

For W8A8 (ort-cpu, int8-npu) and W4A8 (int4-npu): codes compared and different, layer by layer, in
every comparison that ``verify`` makes, on the first of test images 2000 to 7999; top-1 of the float
network, the reference and the runtime on all 6000 of them. Calibrated on 512 training images.
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
from deployq.verifier.accuracy import measure
from deployq.verifier.evidence import Evidence
from deployq.verifier.metrics import TOP1
from deployq.verifier.report import Report
from deployq.verifier.verification import steps_of
from deployq_calibration.settings import CalibrationSettings

TARGETS = ("ort-cpu", "int8-npu", "int4-npu")
CALIBRATION = slice(0, 512)


def run(target: str, data: Dataset, images: int) -> tuple[Report, dict[str, float]]:
    """Prepare, calibrate, export and verify for one target; top-1 over all of ``data``."""
    calibration = cifar10("cifar10_train10k", CALIBRATION)
    captured = capture(cifar10_resnet20(), [torch.zeros(2, 3, 32, 32)])
    settings = CalibrationSettings(corrections=())  # of ranges alone
    prepared = pipeline.calibrate(pipeline.prepare(captured, (), target), calibration, settings)
    few = data.take(images)
    with tempfile.TemporaryDirectory() as folder, progress(steps_of(few)) as advance:
        bundle = Path(folder) / target
        pipeline.export(prepared, bundle, calibration)
        evidence = Evidence(bundle)
        report = pipeline.verify(evidence, few, progress=advance)
        session = evidence.runtime_session(probes=False)
        return report, dict(measure(evidence, session, data, TOP1, advance).values)


def main() -> None:
    """Print a report for each target and one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=1000)
    images = parser.parse_args().images
    data = cifar10("cifar10_test8k", REPORT)
    summary = {}
    for target in TARGETS:
        report, accuracy = run(target, data, images)
        print_report(report)
        shares = ", ".join(f"{name} {100 * share:.2f} %" for name, share in accuracy.items())
        print(f"{target}: top-1 over {len(data)} images: {shares}")
        summary[target] = {
            "top1": accuracy,
            "codes": {p.name: [p.compared, p.different] for p in report.parities},
            "misses": report.misses(),
        }
    print(json.dumps(summary, sort_keys=True))


if __name__ == "__main__":
    main()
