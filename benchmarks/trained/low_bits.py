"""ResNet-20 at 4, 3 and 2 bits: plain training, SAM and SAQ, with as many gradients for each."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from benchmarks.part import Facts, Table
from benchmarks.trained.budget import Budget
from benchmarks.trained.chosen import CHOSEN, TRIES
from benchmarks.trained.loops import Settings, train
from benchmarks.trained.measures import Worth, compared, texts, worth
from benchmarks.trained.networks import GRIDS, calibrated
from benchmarks.trained.samples import choosing, reporting, training
from deployq import pipeline
from deployq.progress import progress

COLUMNS = ("widths", "method", "seeds", "top-1 %", "test loss", "top-1 over qat", "loss over qat")


def low_bits(work: Path, budget: Budget, grids: Sequence[str] = tuple(CHOSEN)) -> Table:
    """A row for each width and method; models stay in ``work``."""
    images, test, facts = training(budget.images), reporting(), list[Facts]()
    runs = [(g, m, s) for g in grids for m in CHOSEN[g] for s in range(budget.seeds)]
    found: dict[tuple[str, str], list[Worth]] = {}
    with progress(len(runs)) as advance:
        for grid, method, seed in runs:
            prepared = calibrated(GRIDS[grid])
            settings = CHOSEN[grid][method]
            train(prepared, images, settings, evaluations=budget.evaluations, seed=seed)
            found.setdefault((grid, method), []).append(worth(prepared.module, test))
            pipeline.save_prepared(prepared, work / f"{grid}.{method}.{seed}")
            advance(f"{grid} {method}, seed {seed}: {found[grid, method][-1].top1:.2f} %")
    for (grid, method), worths in found.items():
        own = {"widths": grid, "method": method, "settings": vars(CHOSEN[grid][method])}
        facts.append({**own, **compared(worths, found[grid, "qat"])})
    rows = [(f["widths"], f["method"], *texts(f)) for f in facts]
    return Table("low bits", COLUMNS, rows, facts)


def tries(budget: Budget, grids: Sequence[str] = tuple(CHOSEN)) -> Table:
    """Every try of every method, on the choosing images, seed 0."""
    images, test, facts = training(budget.images), choosing(), list[Facts]()
    runs = [(grid, settings) for grid in grids for each in TRIES.values() for settings in each]
    with progress(len(runs)) as advance:
        for grid, settings in runs:
            prepared = calibrated(GRIDS[grid])
            train(prepared, images, settings, evaluations=budget.evaluations, seed=0)
            found = worth(prepared.module, test)
            facts.append({"widths": grid, **vars(settings), **vars(found)})
            advance(f"{grid} {_text(settings)}: {found.top1:.2f} %, loss {found.loss:.3f}")
    rows = [(f["widths"], _text(s), f"{f['top1']:.2f}", f"{f['loss']:.4f}")
            for f, (_, s) in zip(facts, runs, strict=True)]  # fmt: skip
    return Table("tries", ("widths", "settings", "top-1 %", "test loss"), rows, facts)


def _text(settings: Settings) -> str:
    radius = f", radius {settings.radius}" if settings.radius else ""
    return f"{settings.method}, rate {settings.rate}{radius}"
