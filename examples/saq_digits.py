"""SAQ in a training loop of one's own, on the handwritten digits of scikit-learn.

python -m examples.saq_digits OUT     trains, then writes OUT/prepared for ``deployq export``
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional

import deployq
from deployq.data import Dataset
from deployq.graph.preparation import PreparedModel
from deployq.train import learn_scales
from deployq_calibration.calibration_settings import CalibrationSettings
from examples.digits import BATCH, TRAIN, digits, train

EPOCHS = 4
RADIUS = 0.3


def train_sharp(images: np.ndarray, labels: np.ndarray) -> PreparedModel:
    """From a float network to one on the grid of int4-npu, by sharpness-aware steps."""
    model = train(images, labels)
    prepared = deployq.prepare(model, [torch.zeros(2, 1, 8, 8)], "int4-npu")
    deployq.calibrate(prepared, Dataset({"x": images[:512]}), CalibrationSettings(corrections=()))
    learn_scales(prepared)
    net = prepared.module.train()

    optimizer = torch.optim.AdamW(net.parameters(), 1e-3, weight_decay=1e-2)
    saq = deployq.SAQ(prepared, optimizer, radius=RADIUS)
    x, y = torch.from_numpy(images), torch.from_numpy(labels)
    for epoch in range(EPOCHS):
        for index in torch.randperm(len(x)).split(BATCH):

            def closure(index: torch.Tensor = index) -> torch.Tensor:
                loss = functional.cross_entropy(net(x[index]), y[index])
                loss.backward()
                return loss

            step = saq.step(closure)
        assert step.perturbed is not None
        print(f"epoch {epoch}: loss {step.loss:.3f}, perturbed {step.perturbed:.3f}")
    net.eval()
    return prepared


def main(folder: Path) -> None:
    """Train, report, write."""
    images, labels = digits()
    torch.manual_seed(0)
    prepared = train_sharp(images[:TRAIN], labels[:TRAIN])
    with torch.no_grad():
        scores = prepared.module(torch.from_numpy(images[TRAIN:]))
    right = scores.argmax(1).numpy() == labels[TRAIN:]
    print(f"W4A8 top-1 on {len(right)} unseen digits: {100 * right.mean():.2f} %")
    deployq.save_prepared(prepared, folder / "prepared")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "out"))
