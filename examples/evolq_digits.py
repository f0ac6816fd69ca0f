"""A vision transformer tuned by Evol-Q, on the handwritten digits of scikit-learn.

python -m examples.evolq_digits OUT     trains for seconds, searches, then writes
    OUT/calibrated    W4A8 as calibration leaves it
    OUT/tuned         the same behind the search, for ``deployq export``
    OUT/calib.npz     images without labels: all that the search saw
    OUT/test.npz      the images that nothing has seen, with labels
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

import deployq
from deployq.data import Dataset
from deployq.graph.preparation import PreparedModel
from deployq_calibration.calibration_settings import CalibrationSettings
from deployq_calibration.evolq import Evolved, EvolveSettings
from examples.digits import TRAIN, digits, fit

EPOCHS = 15
WIDTH, HEADS, DEPTH, PATCH = 32, 4, 2, 2
TOKENS = (8 // PATCH) ** 2
SEARCH = EvolveSettings(samples=400, fitness="kl")
"""As the released code searches, on fewer images; one batch of a hundred only watches. The released
fitness, infoNCE, compares directions alone: on ten classes it left the divergence as it was.
"""


class DigitsViT(nn.Module):
    """(N, 1, 8, 8) images in [0, 1] to (N, 10) scores."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(1, WIDTH, PATCH, PATCH)
        self.position = nn.Parameter(0.02 * torch.randn(1, TOKENS, WIDTH))
        layer = nn.TransformerEncoderLayer(
            WIDTH, HEADS, 2 * WIDTH, 0.0, "gelu", batch_first=True, norm_first=True
        )
        self.encoder = nn.TransformerEncoder(layer, DEPTH, enable_nested_tensor=False)
        self.head = nn.Linear(TOKENS * WIDTH, 10)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.patches(x).flatten(2).transpose(1, 2) + self.position
        scores: Tensor = self.head(self.encoder(tokens).flatten(1))
        return scores


def train_vit(images: np.ndarray, labels: np.ndarray, *, epochs: int = EPOCHS) -> DigitsViT:
    """Train from a fixed seed; returns the network in evaluation mode."""
    torch.manual_seed(0)
    model = DigitsViT()
    fit(model, model.parameters(), images, labels, rate=3e-3, epochs=epochs)
    return model.eval()


def calibrated(model: nn.Module, images: np.ndarray) -> PreparedModel:
    """With 4-bit weights for int4-npu, scales from the images; codes to the nearest."""
    prepared = deployq.prepare(model, [torch.zeros(2, 1, 8, 8)], "int4-npu")
    plain = CalibrationSettings(corrections=())
    return deployq.calibrate(prepared, Dataset({"x": images}), plain)


def search(prepared: PreparedModel, images: np.ndarray, model: nn.Module) -> Evolved:
    """Scales nearer to the float network's outputs, in place; labels are not looked at."""
    return deployq.evolve_scales(prepared, Dataset({"x": images}), SEARCH, teacher=model)


def divergence(network: nn.Module, model: nn.Module, images: np.ndarray) -> float:
    """``KL(float softmax || quantized softmax)`` in nats, mean of the images."""
    x = torch.from_numpy(images)
    with torch.no_grad():
        wanted, found = (net(x).log_softmax(1) for net in (model, network))
    return float((wanted.exp() * (wanted - found)).sum(1).mean())


def main(folder: Path) -> None:
    """Train, search, report, write."""
    images, labels = digits()
    folder.mkdir(parents=True, exist_ok=True)
    unseen = images[TRAIN:], labels[TRAIN:]
    np.savez(folder / "calib.npz", x=images[:TRAIN])
    np.savez(folder / "test.npz", x=unseen[0], y=unseen[1])
    model = train_vit(images[:TRAIN], labels[:TRAIN])
    prepared = calibrated(model, images[:TRAIN])

    def report(name: str) -> None:
        with torch.no_grad():
            scores = prepared.module.eval()(torch.from_numpy(unseen[0]))
        right = 100 * (scores.argmax(1).numpy() == unseen[1]).mean()
        nats = divergence(prepared.module, model, unseen[0])
        print(f"{name}: on {len(unseen[1])} unseen digits {nats:.5f} nats, top-1 {right:.2f} %")
        deployq.save_prepared(prepared, folder / name)

    report("calibrated")
    found = search(prepared, images[:TRAIN], model)
    print(f"searched {found.before:.5f} to {found.after:.5f}, ", end="")
    print(f"held back {found.held_back[0]:.5f} to {found.held_back[-1]:.5f}")
    report("tuned")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "out"))
