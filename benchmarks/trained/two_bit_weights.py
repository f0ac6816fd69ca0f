"""ResNet-20 with ternary weights: plain retraining, captures, averages and SQWA."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path

import numpy as np
import torch

from benchmarks.part import Table
from benchmarks.trained.budget import Budget
from benchmarks.trained.chosen import PLAIN_RATE, SQWA_RATE
from benchmarks.trained.images import Images
from benchmarks.trained.kept import Key, keep, kept_or
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
from benchmarks.trained.networks import network
from benchmarks.trained.samples import reporting, training
from deployq.graph.preparation import PreparedModel
from deployq.progress import progress
from deployq.train import SQWA, CyclicLR, learn_scales, reestimate_norms

COLUMNS = ("model", "seeds", "top-1 %", "test loss", "top-1 over captures", "loss over captures")
WIDTHS = "W2A8"
LOW = 100
"""The highest rate of a cycle over its lowest."""
NORM_BATCHES = 16

Worths = dict[str, Worth]


def two_bit_weights(work: Path, budget: Budget) -> Table:
    """A row for each model, the same number of gradients for each that was trained."""
    images, test, net = training(budget.images), reporting(), network(WIDTHS)
    each: list[Worths] = []
    with progress(2 * budget.seeds) as advance:
        for seed in range(budget.seeds):
            settings, count = Settings("qat", PLAIN_RATE), budget.evaluations
            make = partial(train, net, images, settings, evaluations=count, seed=seed)
            plain = kept_or(work, Key(WIDTHS, "qat", seed), make)
            found = {"plain retraining": worth(plain.module, test)}
            advance(f"plain retraining, seed {seed}: {found['plain retraining'].top1:.2f} %")
            worths, models = averaged(images, test, budget, seed, SQWA_RATE)
            for method, model in models.items():
                keep(work, Key(WIDTHS, method, seed), model)
            each.append(found | worths)
            advance(f"SQWA, seed {seed}: {worths['SQWA'].top1:.2f} %")
    captures = [found["mean of the captures"] for found in each]
    facts = [
        {"model": name, **compared([found[name] for found in each], captures)} for name in each[0]
    ]
    rows = [(f["model"], *texts(f)) for f in facts]
    return Table("two-bit weights", COLUMNS, rows, facts)


def averaged(
    images: Images, test: Images, budget: Budget, seed: int, rate: float
) -> tuple[Worths, Mapping[str, PreparedModel]]:
    """Captures of one run, their averages, and what fine-tuning makes of them.

    Args:
        rate: the highest of a cycle, and of the settling before.
    """
    net = network(WIDTHS)
    prepared, batches = net.restarted(), images.stream(BATCH, seed)
    prepared.module.train()
    optimizer = optimizer_of(prepared, rate)  # steps learn while it settles
    schedule = cosine(optimizer, budget.settling)
    run(net.compiled, batches, plain_step(optimizer), schedule, budget.settling)
    sqwa = SQWA(prepared)
    sqwa.begin(refit=False)  # of a network of ternary steps that learned
    learn_scales(prepared, activations=False, weights=False)  # those of activations rest too
    optimizer = torch.optim.AdamW(_learned(prepared), rate, weight_decay=1e-4)
    cyclic = CyclicLR(optimizer, high=rate, low=rate / LOW, cycle_steps=budget.cycle)
    captured = []
    for _ in range(budget.captures):
        run(net.compiled, batches, plain_step(optimizer), cyclic, budget.cycle)
        assert cyclic.at_minimum()
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
    models = {"swa": latent, "sqwa": requantized}
    for name, method in (("SWA of the latents, fine-tuned", "swa"), ("SQWA", "sqwa")):
        _finetune(models[method], images, budget.finetuning, seed, 2 * rate / LOW)
        found[name] = worth(models[method].module, test)
    return found, models


def _finetune(prepared: PreparedModel, images: Images, steps: int, seed: int, rate: float) -> None:
    """At low rates, from the average; scales and statistics rest where they are deployed."""
    rest(prepared)
    optimizer = torch.optim.AdamW(_learned(prepared), rate, weight_decay=1e-4)
    batches = images.stream(BATCH, seed + 1000)
    prepared.module.train()
    run(prepared.module, batches, plain_step(optimizer), cosine(optimizer, steps), steps)
    prepared.module.eval()


def _learned(prepared: PreparedModel) -> list[torch.nn.Parameter]:
    return [p for p in prepared.module.parameters() if p.requires_grad]


def _mean(worths: list[Worth]) -> Worth:
    return Worth(float(np.mean([w.top1 for w in worths])), float(np.mean([w.loss for w in worths])))
