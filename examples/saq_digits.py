"""SAQ in a training loop of one's own, on the handwritten digits of scikit-learn.

python -m examples.saq_digits OUT     trains for seconds, then writes
    OUT/prepared    for ``deployq export``
    OUT/plain       for comparison: plain steps, as many gradients
    OUT/train.npz, OUT/test.npz     images that both have seen, and images that none has
"""

from __future__ import annotations

import copy
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

import deployq
from deployq.data import Dataset
from deployq.graph.preparation import PreparedModel
from deployq.train import learn_scales
from deployq_calibration.calibration_settings import CalibrationSettings
from examples.digits import BATCH, TRAIN, digits, train

EPOCHS = 4
RADIUS = 0.3


def train_sharp(model: nn.Module, images: np.ndarray, labels: np.ndarray) -> PreparedModel:
    """From a float network to one on the grid of int4-npu, by sharpness-aware steps."""
    prepared, optimizer = on_grid(model, images)
    net = prepared.module.train()
    saq = deployq.SAQ(prepared, optimizer, radius=RADIUS)
    for epoch in range(EPOCHS):
        for x, y in batches(images, labels):

            def closure(x: Tensor = x, y: Tensor = y) -> Tensor:
                loss = functional.cross_entropy(net(x), y)
                loss.backward()
                return loss

            step = saq.step(closure)
        assert step.perturbed is not None
        print(f"epoch {epoch}: loss {step.loss:.3f}, perturbed {step.perturbed:.3f}")
    net.eval()
    return prepared


def train_plain(model: nn.Module, images: np.ndarray, labels: np.ndarray) -> PreparedModel:
    """The same by plain steps; a sharpness-aware one computes two gradients."""
    prepared, optimizer = on_grid(model, images)
    net = prepared.module.train()
    for _ in range(2 * EPOCHS):
        for x, y in batches(images, labels):
            optimizer.zero_grad()
            functional.cross_entropy(net(x), y).backward()
            optimizer.step()
    net.eval()
    return prepared


def on_grid(model: nn.Module, images: np.ndarray) -> tuple[PreparedModel, torch.optim.Optimizer]:
    """A calibrated model whose scales learn, and what trains it."""
    prepared = deployq.prepare(model, [torch.zeros(2, 1, 8, 8)], "int4-npu")
    deployq.calibrate(prepared, Dataset({"x": images[:512]}), CalibrationSettings(corrections=()))
    learn_scales(prepared)
    return prepared, torch.optim.AdamW(prepared.module.parameters(), 1e-3, weight_decay=1e-2)


def batches(images: np.ndarray, labels: np.ndarray) -> Iterator[tuple[Tensor, Tensor]]:
    """One epoch in a random order."""
    x, y = torch.from_numpy(images), torch.from_numpy(labels)
    yield from ((x[index], y[index]) for index in torch.randperm(len(x)).split(BATCH))


def main(folder: Path) -> None:
    """Train both, report, write."""
    images, labels = digits()
    folder.mkdir(parents=True, exist_ok=True)
    seen, unseen = slice(None, TRAIN), slice(TRAIN, None)
    for name, part in (("train", seen), ("test", unseen)):
        np.savez(folder / f"{name}.npz", x=images[part], y=labels[part])
    torch.manual_seed(0)
    model = train(images[seen], labels[seen])
    for name, method in (("plain", train_plain), ("prepared", train_sharp)):
        prepared = method(copy.deepcopy(model), images[seen], labels[seen])
        with torch.no_grad():
            scores = prepared.module(torch.from_numpy(images[unseen]))
        right = scores.argmax(1).numpy() == labels[unseen]
        print(f"{name}: W4A8 top-1 on {len(right)} unseen digits {100 * right.mean():.2f} %")
        deployq.save_prepared(prepared, folder / name)


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "out"))
