"""ResNet-20 at 4, 3 and 2 bits: plain training, SAM and SAQ, with as many gradients for each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.part import Facts, Table
from benchmarks.trained.budget import Budget
from benchmarks.trained.chosen import CHEAP, CHOSEN
from benchmarks.trained.kept import Key, kept_or
from benchmarks.trained.loops import train
from benchmarks.trained.measures import Worth, compared, texts, worth
from benchmarks.trained.networks import network
from benchmarks.trained.samples import reporting, training
from deployq.progress import progress

COLUMNS = ("widths", "method", "seeds", "top-1 %", "test loss", "top-1 over qat", "loss over qat")
KEPT = 0.5
"""The cheaper schedule keeps this much of what SAQ takes off the test loss."""

Found = dict[tuple[str, str], list[Worth]]


def low_bits(work: Path, budget: Budget, grids: Sequence[str] = tuple(CHOSEN)) -> Table:
    """A row for each width and method; models stay in ``work``, and are taken from there."""
    images, test = training(budget.images), reporting()
    runs = [Key(g, m, s) for g in grids for m in CHOSEN[g] for s in range(budget.seeds)]
    found: Found = {}
    with progress(len(runs)) as advance:
        for key in runs:
            settings, net = CHOSEN[key.widths][key.method], network(key.widths)
            count = budget.evaluations
            make = partial(train, net, images, settings, evaluations=count, seed=key.seed)
            prepared = kept_or(work, key, make)
            found.setdefault((key.widths, key.method), []).append(worth(prepared.module, test))
            advance(f"{key}: {found[key.widths, key.method][-1].top1:.2f} %")
    facts = [_facts(pair, found) for pair in found]
    rows = [(f["widths"], f["method"], *texts(f)) for f in facts]
    return Table("low bits", COLUMNS, rows, facts, [m for g in grids for m in _misses(g, found)])


def _facts(pair: tuple[str, str], found: Mapping[tuple[str, str], list[Worth]]) -> Facts:
    widths, method = pair
    own = {"widths": widths, "method": method, "settings": vars(CHOSEN[widths][method])}
    return {**own, **compared(found[pair], found[widths, "qat"])}


def _misses(widths: str, found: Mapping[tuple[str, str], list[Worth]]) -> list[str]:
    """What the cheaper schedule loses, where there is something to lose."""
    loss = {m: float(np.mean([w.loss for w in found[widths, m]])) for m in CHOSEN[widths]}
    gain, cheap = loss["qat"] - loss["saq"], loss["qat"] - loss[CHEAP]
    if gain <= 0 or cheap >= KEPT * gain:
        return []
    return [f"{widths}: {CHEAP} takes {cheap:.4f} off the test loss, saq {gain:.4f}"]
