"""What the recipes in examples/recipes train: a float network and images of handwritten digits.

python -m examples.digits_data OUT     trains for seconds, then writes into OUT:
    digits.pt2        the trained float network
    train.npz         800 images with labels
    validation.npz    200 more, which choose the best epoch
    test.npz          the other 797
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from examples.digits import TRAIN, digits, save_network, train

VALIDATION = 200
"""Of the training images, the last."""


def main(folder: Path) -> None:
    """Train a little, so that training on the grid has something to add, and write."""
    folder.mkdir(parents=True, exist_ok=True)
    x, y = digits()
    split = TRAIN - VALIDATION
    save_network(train(x[:split], y[:split], epochs=4), folder / "digits.pt2")
    write_images(folder)


def write_images(folder: Path) -> None:
    """The three parts, into a folder that is there."""
    x, y = digits()
    split = TRAIN - VALIDATION
    parts = {"train": (0, split), "validation": (split, TRAIN), "test": (TRAIN, len(x))}
    for name, (start, stop) in parts.items():
        np.savez(folder / f"{name}.npz", x=x[start:stop], y=y[start:stop])


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "out"))
