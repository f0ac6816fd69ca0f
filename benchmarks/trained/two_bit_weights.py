"""ResNet-20 with ternary weights: plain retraining, captures, averages and SQWA."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from benchmarks.part import Table
from benchmarks.trained.budget import Budget
from benchmarks.trained.images import Images
from benchmarks.trained.loops import (
    BATCH,
    Settings,
    cosine,
    optimizer_of,
    plain_step,
    rest,
    run,
    train,
)
from benchmarks.trained.measures import Worth, compared, texts, worth
from benchmarks.trained.networks import GRIDS, calibrated
from benchmarks.trained.samples import reporting, training
from deployq import pipeline
from deployq.graph.preparation import PreparedModel
from deployq.progress import progress
from deployq.train import SQWA, CyclicLR, learn_scales, reestimate_norms

COLUMNS = ("model", "seeds", "top-1 %", "test loss", "top-1 over captures", "loss over captures")
GRID = GRIDS["W2A8"]
RATE = 0.02
LOW = 100
"""The highest rate of a cycle over its lowest."""
NORM_BATCHES = 16

Worths = dict[str, Worth]


def two_bit_weights(work: Path, budget: Budget) -> Table:
    """A row for each model, the same number of gradients for each that was trained."""
    images, test = training(budget.images), reporting()
    each: list[Worths] = []
    with progress(2 * budget.seeds) as advance:
        for seed in range(budget.seeds):
            plain = calibrated(GRID)
            settings = Settings("qat", RATE)
            train(plain, images, settings, evaluations=budget.evaluations, seed=seed)
            found = {"plain retraining": worth(plain.module, test)}
            advance(f"plain retraining, seed {seed}: {found['plain retraining'].top1:.2f} %")
            found.update(averaged(images, test, budget, seed, work / f"sqwa.{seed}"))
            each.append(found)
            advance(f"SQWA, seed {seed}: {found['SQWA'].top1:.2f} %")
    captures = [found["mean of the captures"] for found in each]
    facts = [
        {"model": name, **compared([found[name] for found in each], captures)} for name in each[0]
    ]
    rows = [(f["model"], *texts(f)) for f in facts]
    return Table("two-bit weights", COLUMNS, rows, facts)


def averaged(images: Images, test: Images, budget: Budget, seed: int, folder: Path) -> Worths:
    """Captures of one run, their averages, and what fine-tuning makes of them."""
    prepared, batches = calibrated(GRID), images.stream(BATCH, seed)
    optimizer = optimizer_of(prepared, RATE)
    step = plain_step(optimizer)
    run(prepared, batches, step, cosine(optimizer, budget.settling), budget.settling)
    sqwa = SQWA(prepared)
    sqwa.begin()
    rest_of_scales(prepared)
    optimizer = torch.optim.SGD(_learned(prepared), RATE, 0.9, nesterov=True, weight_decay=1e-4)
    schedule = CyclicLR(optimizer, high=RATE, low=RATE / LOW, cycle_steps=budget.cycle)
    captured = []
    for _ in range(budget.captures):
        run(prepared, batches, plain_step(optimizer), schedule, budget.cycle)
        assert schedule.at_minimum()
        sqwa.capture()
        captured.append(worth(prepared.module, test))
    inputs = [[next(batches)[0]] for _ in range(NORM_BATCHES)]
    average = sqwa.average()
    reestimate_norms(average, inputs)
    requantized = sqwa.requantize(average)
    reestimate_norms(requantized, inputs, like=average)
    latent = sqwa.latent_average()
    reestimate_norms(latent, inputs, like=average)
    found = {
        "mean of the captures": _mean(captured),
        "average of the captures, 4 bits": worth(average.module, test),
        "re-quantized": worth(requantized.module, test),
        "SWA of the latents, quantized": worth(latent.module, test),
    }
    for name, model in (("SWA of the latents, fine-tuned", latent), ("SQWA", requantized)):
        _finetune(model, images, budget.finetuning, seed)
        found[name] = worth(model.module, test)
    pipeline.save_prepared(requantized, folder)
    return found


def rest_of_scales(prepared: PreparedModel) -> None:
    """Activation scales rest too, where the target has them."""
    learn_scales(prepared, activations=False, weights=False)


def _finetune(prepared: PreparedModel, images: Images, steps: int, seed: int) -> None:
    """At low rates, from the average; scales and statistics rest where they are deployed."""
    rest(prepared)
    rate = 2 * RATE / LOW
    optimizer = torch.optim.SGD(_learned(prepared), rate, 0.9, nesterov=True)
    batches = images.stream(BATCH, seed + 1000)
    run(prepared, batches, plain_step(optimizer), cosine(optimizer, steps), steps)
    prepared.module.eval()


def _learned(prepared: PreparedModel) -> list[torch.nn.Parameter]:
    return [p for p in prepared.module.parameters() if p.requires_grad]


def _mean(worths: list[Worth]) -> Worth:
    return Worth(float(np.mean([w.top1 for w in worths])), float(np.mean([w.loss for w in worths])))
