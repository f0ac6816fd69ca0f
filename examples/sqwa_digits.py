"""SQWA in a training loop of one's own: ternary weights on the digits of scikit-learn.

python -m examples.sqwa_digits [OUT]     trains for seconds, prints the accuracy of each stage;
    OUT/capture-1 to capture-7    the captured models
    OUT/test.npz      images that none has seen; OUT/train.npz: those of the training
    OUT/average       bundle of the average of seven ternary models: weights of 4 bits
    OUT/requantized   bundle of the ternary model that came of it
"""

from __future__ import annotations

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
from deployq.graph.recipe import Recipe
from deployq.train import SQWA, CyclicLR, reestimate_norms
from deployq_calibration.calibration_settings import CalibrationSettings
from examples.digits import BATCH, TRAIN, digits, fit, train

CAPTURES = 7
"""Their average has 15 levels: 4 bits."""
SETTLE_EPOCHS, CYCLE_EPOCHS, FINE_EPOCHS = 4, 2, 2
HIGH = 5e-3
LOW = HIGH / 100


def tune(
    prepared: PreparedModel, images: np.ndarray, labels: np.ndarray, *, rate: float, epochs: int
) -> None:
    """An ordinary loop with an optimizer of its own."""
    module = prepared.module
    fit(module, module.parameters(), images, labels, rate=rate, epochs=epochs)
    module.eval()


def captured_at_minima(sqwa: SQWA, module: nn.Module, x: Tensor, y: Tensor) -> Iterator[int]:
    """The loop of one's own: an ordinary step, then two lines. Yields the number of captures."""
    optimizer = torch.optim.SGD(module.parameters(), HIGH, momentum=0.9, nesterov=True)
    cycle = CYCLE_EPOCHS * -(-len(x) // BATCH)
    schedule = CyclicLR(optimizer, high=HIGH, low=LOW, cycle_steps=cycle)
    module.train()
    while sqwa.captures < CAPTURES:
        for index in torch.randperm(len(x)).split(BATCH):
            optimizer.zero_grad()
            functional.cross_entropy(module(x[index]), y[index]).backward()
            optimizer.step()
            schedule.step()
            if schedule.at_minimum():
                print("capture", sqwa.capture())
                module.eval()
                yield sqwa.captures
                module.train()


def top1(prepared: PreparedModel, images: np.ndarray, labels: np.ndarray) -> float:
    """Percent right."""
    with torch.no_grad():
        scores: Tensor = prepared.module.eval()(torch.from_numpy(images))
    return 100 * float((scores.argmax(1).numpy() == labels).mean())


def stages(
    model: nn.Module, images: np.ndarray, labels: np.ndarray
) -> Iterator[tuple[str, PreparedModel]]:
    """The models of SQWA from a float one, in order, each as it is when it is yielded."""
    x, y = torch.from_numpy(images), torch.from_numpy(labels)
    recipe = Recipe(weight_bits=2)
    prepared = deployq.prepare(model, [torch.zeros(2, 1, 8, 8)], "lowbit-vlsi", recipe)
    plain = CalibrationSettings(corrections=())  # training follows, which corrects more
    deployq.calibrate(prepared, Dataset({"x": images[:512]}), plain)
    sqwa = SQWA(prepared)
    sqwa.begin()
    yield "direct", prepared
    tune(prepared, images, labels, rate=2e-3, epochs=SETTLE_EPOCHS)
    yield "settled", prepared
    for count in captured_at_minima(sqwa, prepared.module, x, y):
        yield f"capture-{count}", prepared
    averaged = sqwa.average()
    reestimate_norms(averaged, [[x]])
    yield "average", averaged
    found = sqwa.requantize(averaged)
    reestimate_norms(found, [[x]], like=averaged)
    yield "requantized", found
    tune(found, images, labels, rate=2e-4, epochs=FINE_EPOCHS)
    yield "fine-tuned", found


def main(folder: Path) -> None:
    """Train, report, keep the captures, export the average and the last model."""
    images, labels = digits()
    seen, unseen = slice(None, TRAIN), slice(TRAIN, None)
    folder.mkdir(parents=True, exist_ok=True)
    for name, part in (("train", seen), ("test", unseen)):
        np.savez(folder / f"{name}.npz", x=images[part], y=labels[part])
    torch.manual_seed(0)
    model = train(images[seen], labels[seen])
    for stage, prepared in stages(model, images[seen], labels[seen]):
        right = top1(prepared, images[unseen], labels[unseen])
        print(f"{stage:13} {right:.2f} % of {len(labels[unseen])} unseen digits")
        if stage.startswith("capture"):
            deployq.save_prepared(prepared, folder / stage)
        if stage in ("average", "fine-tuned"):
            bundle = folder / {"average": "average", "fine-tuned": "requantized"}[stage]
            deployq.export(prepared, bundle, Dataset({"x": images[unseen]}))


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "out"))
