"""Top-1 of ResNet-20 on CIFAR-10 with each observer: what the default is chosen by.

    python -m benchmarks.observers_resnet20 [--images 2000]

Test images 0 to 1999 only, which may choose settings. Calibrated on 512 training images; evaluated
in float fake quantization, which differs from the codes in about 1e-5 of them.
"""

from __future__ import annotations

import argparse
import json

import torch
from torch import fx

from benchmarks.zoo import CHOOSE, cifar10, cifar10_resnet20
from deployq import pipeline
from deployq.data import Dataset
from deployq.graph.capture import capture
from deployq.graph.preparation import PreparedModel
from deployq_calibration.calibration_settings import CalibrationSettings

TARGETS = ("int8-npu", "int4-npu")
SETTINGS = (
    ("minmax", "mse"), ("mse", "mse"), ("percentile", "mse"), ("percentile:99.9", "mse"),
    ("entropy", "mse"), ("moving_average", "mse"), ("mse", "minmax"), ("mse", "percentile"),
)  # fmt: skip
"""Observers of activations and weights."""

CALIBRATION = slice(0, 512)
BATCH = 100


def right(prepared: PreparedModel, data: Dataset) -> int:
    """Images whose highest logit, the first of equal ones, is the label's."""
    assert data.labels is not None
    count = 0
    with torch.no_grad():
        for start in range(0, len(data), BATCH):
            logits = prepared.module(torch.from_numpy(data.inputs["x"][start : start + BATCH]))
            labels = torch.from_numpy(data.labels[start : start + BATCH])
            count += int((logits.argmax(1) == labels).sum())
    return count


def measure(graph: fx.GraphModule, target: str, chosen: tuple[str, str], data: Dataset) -> float:
    """Top-1 in percent."""
    prepared = pipeline.prepare(graph, (), target)
    settings = CalibrationSettings(*chosen, corrections=())
    pipeline.calibrate(prepared, cifar10("cifar10_train10k", CALIBRATION), settings)
    return 100 * right(prepared, data) / len(data)


def main() -> None:
    """Print a table and one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=CHOOSE.stop)
    data = cifar10("cifar10_test8k", slice(0, min(parser.parse_args().images, CHOOSE.stop)))
    graph = capture(cifar10_resnet20(), [torch.zeros(2, 3, 32, 32)])
    found: dict[str, dict[str, float]] = {target: {} for target in TARGETS}
    print(f"top-1 in percent over {len(data)} images")
    print("activations       weights     " + "".join(f"{target:>10}" for target in TARGETS))
    for chosen in SETTINGS:
        shares = [measure(graph, target, chosen, data) for target in TARGETS]
        for target, share in zip(TARGETS, shares, strict=True):
            found[target][" ".join(chosen)] = share
        print(f"{chosen[0]:<18}{chosen[1]:<12}" + "".join(f"{share:>10.2f}" for share in shares))
    print(json.dumps(found, sort_keys=True))


if __name__ == "__main__":
    main()
