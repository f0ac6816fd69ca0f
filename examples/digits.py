"""A small residual CNN on the handwritten digits of scikit-learn: data, network, training.

python examples/digits.py OUT     trains for seconds, then writes into OUT:
    digits.pt2      the trained float network
    prepared/       the same, trained on for int4-npu with 4-bit weights on their grid
    calib.npz       512 training images
    test.npz        the images that training never saw, with labels
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional

import deployq
from deployq.data import Dataset
from deployq.graph.preparation import PreparedModel
from deployq.train import learn_scales
from deployq_calibration.calibration_settings import CalibrationSettings

TRAIN = 1000
"""Of the 1797 images, in the order of the file; the other 797 test."""
EPOCHS = 12
TUNING_EPOCHS = 3
WIDTH = 32
BATCH = 64


class Residual(nn.Module):
    """Depthwise 3x3, pointwise 1x1, add, ReLU over (N, C, H, W)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.pointwise = nn.Conv2d(channels, channels, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        y = functional.relu(self.bn1(self.depthwise(x)))
        return functional.relu(x + self.bn2(self.pointwise(y)))


class DigitsNet(nn.Module):
    """(N, 1, 8, 8) images in [0, 1] to (N, 10) scores."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, WIDTH, 3, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(WIDTH)
        self.block1 = Residual(WIDTH)
        self.block2 = Residual(WIDTH)
        self.head = nn.Linear(WIDTH, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.relu(self.bn(self.stem(x)))
        x = self.block2(self.block1(x))
        scores: Tensor = self.head(x.mean((2, 3)))
        return scores


def digits() -> tuple[np.ndarray, np.ndarray]:
    """Images (1797, 1, 8, 8) float32 in [0, 1] and labels (1797,)."""
    data = load_digits()
    images = (data.images / 16).astype(np.float32)[:, None]
    return images, data.target.astype(np.int64)


def train(images: np.ndarray, labels: np.ndarray, *, epochs: int = EPOCHS) -> DigitsNet:
    """Train from a fixed seed; returns the network in evaluation mode."""
    torch.manual_seed(0)
    model = DigitsNet()
    fit(model, model.parameters(), images, labels, rate=2e-2, epochs=epochs)
    return model.eval()


def fit(
    model: nn.Module,
    parameters: Iterable[nn.Parameter],
    images: np.ndarray,
    labels: np.ndarray,
    *,
    rate: float,
    epochs: int,
) -> None:
    """An ordinary training loop; a prepared network is a torch module like any other."""
    optimizer = torch.optim.AdamW(parameters, rate, weight_decay=1e-2)
    steps = epochs * -(-len(images) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=steps)
    x, y = torch.from_numpy(images), torch.from_numpy(labels)
    model.train()
    for _ in range(epochs):
        for index in torch.randperm(len(x)).split(BATCH):
            optimizer.zero_grad()
            functional.cross_entropy(model(x[index]), y[index]).backward()
            optimizer.step()
            schedule.step()


def tune(model: DigitsNet, images: np.ndarray, labels: np.ndarray) -> PreparedModel:
    """Prepare for int4-npu, calibrate, and train weights and step sizes on the grid."""
    prepared = deployq.prepare(model, [torch.zeros(2, 1, 8, 8)], "int4-npu")
    plain = CalibrationSettings(corrections=())  # training follows, which corrects more
    deployq.calibrate(prepared, Dataset({"x": images[:512]}), plain)
    learn_scales(prepared)
    module = prepared.module
    fit(module, module.parameters(), images, labels, rate=2e-3, epochs=TUNING_EPOCHS)
    module.eval()
    return prepared


def save_network(model: DigitsNet, path: Path) -> None:
    """Write the network as a ``.pt2`` with a free batch."""
    batch = {0: torch.export.Dim.DYNAMIC}
    program = torch.export.export(model, (torch.zeros(2, 1, 8, 8),), dynamic_shapes=(batch,))
    torch.export.save(program, path)


def main(folder: Path) -> None:
    """Train, report, write."""
    folder.mkdir(parents=True, exist_ok=True)
    images, labels = digits()
    model = train(images[:TRAIN], labels[:TRAIN])
    with torch.no_grad():
        right = model(torch.from_numpy(images[TRAIN:])).argmax(1).numpy() == labels[TRAIN:]
    print(f"float top-1 on {len(right)} unseen digits: {100 * right.mean():.2f} %")
    save_network(model, folder / "digits.pt2")
    deployq.save_prepared(tune(model, images[:TRAIN], labels[:TRAIN]), folder / "prepared")
    np.savez(folder / "calib.npz", x=images[:512])
    np.savez(folder / "test.npz", x=images[TRAIN:], y=labels[TRAIN:])


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "out"))
