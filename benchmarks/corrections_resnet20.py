"""What each correction does for ResNet-20 on CIFAR-10, with 4-bit and with 8-bit weights.

python -m benchmarks.corrections_resnet20 [--target int4-npu] [--iterations N]

Top-1 in percent over test images 0 to 1999, which choose the defaults and report nothing else;
calibration takes the first training images. The last line evaluates the default on codes.
"""

from __future__ import annotations

import argparse
import json
import time

import numpy as np
import torch
from torch import nn

from benchmarks.zoo import CHOOSE, cifar10, cifar10_resnet20
from deployq import pipeline
from deployq.arithmetic.contract import QDQ
from deployq.data import Dataset
from deployq.graph.codes import evaluate_codes
from deployq.graph.preparation import PreparedModel
from deployq_calibration.calibration_settings import CalibrationSettings
from deployq_calibration.corrections import DEFAULT

BATCH = 250

CASES: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("minmax", ()),
    ("mse", ()),
    ("mse", ("equalization",)),
    ("mse", ("bias",)),
    ("mse", ("rounding",)),
    ("mse", ("rounding", "bias")),
    ("mse", ("rounding", "bias", "tuning")),
    ("mse", ("equalization", "rounding", "bias", "tuning")),
)
"""Observer of weights and activations, and corrections."""


def top1(model: nn.Module, data: Dataset) -> float:
    """Percent of the images whose label has the highest output."""
    with torch.no_grad():
        parts = [model(torch.from_numpy(part.inputs["x"])) for part in data.batches(BATCH)]
    return _percent(torch.cat(parts), data)


def top1_on_codes(prepared: PreparedModel, data: Dataset) -> float:
    """As :func:`top1`, of the reference: integer sums, scales after them."""
    last = prepared.plan.tensors[-1].name
    parts = (torch.from_numpy(part.inputs["x"]) for part in data.batches(BATCH))
    codes = [evaluate_codes(prepared, QDQ, part)[last] for part in parts]
    return _percent(torch.cat(codes), data)


def _percent(outputs: torch.Tensor, data: Dataset) -> float:
    assert data.labels is not None
    return 100 * float(np.mean(outputs.argmax(1).numpy() == data.labels))


def main() -> None:
    """Print one line a case, and all of it as one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--target", default="int4-npu")
    parser.add_argument("--calibration", type=int, default=1024)
    parser.add_argument("--iterations", type=int, default=CalibrationSettings().iterations)
    wish = parser.parse_args()
    network, images = cifar10_resnet20(), cifar10("cifar10_test8k", CHOOSE)
    calibration = cifar10("cifar10_train10k", slice(0, wish.calibration))
    found = [{"case": "float", "top1": top1(network, images)}]
    print(f"float {found[0]['top1']:.2f} %", flush=True)
    for observer, corrections in CASES:
        settings = CalibrationSettings(
            observer, observer, corrections=corrections, iterations=wish.iterations
        )
        prepared = pipeline.prepare(network, [torch.zeros(2, 3, 32, 32)], wish.target)
        start = time.process_time()
        pipeline.calibrate(prepared, calibration, settings)
        seconds = time.process_time() - start
        case = " + ".join([observer, *corrections])
        found.append({"case": case, "top1": top1(prepared.module, images), "cpu_s": seconds})
        print(f"{case}: {found[-1]['top1']:.2f} %, {seconds:.0f} s of CPU", flush=True)
        if corrections == DEFAULT:
            found.append({"case": f"{case}, codes", "top1": top1_on_codes(prepared, images)})
            print(f"{case}, on codes: {found[-1]['top1']:.2f} %", flush=True)
    print(json.dumps({"target": wish.target, "iterations": wish.iterations, "cases": found}))


if __name__ == "__main__":
    main()
