"""Divergence and accuracy before and after a search: plain, on powers of two, behind rounding."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from benchmarks.evolved.budget import Budget, Schedule
from benchmarks.evolved.grids import Grid
from benchmarks.evolved.searches import Searched, Work
from benchmarks.evolved.worth import Gain, means
from benchmarks.models.spec import ModelSpec
from benchmarks.part import Facts, Table
from deployq.progress import progress

COLUMNS = (
    "model", "widths", "metric", "float", "before", "after", "KL before", "KL after",
    "KL, after less before", "top-1, after less before", "searched", "held back", "s (of)",
)  # fmt: skip
NARROWEST = 3
TWO_SEARCHES = 2
"""On a lattice a search of any scales goes ahead."""


def accuracy(folder: Path, budget: Budget) -> Table:
    """A row for each network and width; scores are those of fake-quant on unseen images."""
    work, rows, facts, misses = Work(folder, budget), [], list[Facts](), list[str]()
    cases = [(s, p, g) for s, p in work.networks() for g in p.grids]
    with progress(len(cases)) as advance:
        for spec, schedule, grid in cases:
            advance(f"{spec.name}, {grid.name}")
            found = work.searched(spec, grid, schedule)
            gain = Gain.of(found.mean_after, found.before)
            rows.append(_cells(work, spec, grid, found, gain, schedule))
            facts.append(_facts(work, spec, grid, found, gain))
            misses += [
                f"{spec.name}, {grid.name}: {m}" for m in _misses(grid, found, gain, schedule)
            ]
    return Table("Evol-Q, mean of the seeds", COLUMNS, rows, facts, misses)


def powers(folder: Path, budget: Budget) -> Table:
    """Searched power-of-two scales against float scales that nobody searched."""
    columns = ("model", "widths", "KL float scales", "top-1", "KL pow2 searched", "top-1",
               "KL, pow2 less float", "top-1, pow2 less float")  # fmt: skip
    work, rows, facts, misses = Work(folder, budget), [], list[Facts](), list[str]()
    cases = [(s, p, pair) for s, p in work.networks() for pair in p.pairs]
    with progress(len(cases)) as advance:
        for spec, schedule, (grid, lattice) in cases:
            advance(f"{spec.name}, {lattice.name}")
            base = work.unsearched(spec, grid)
            found = work.searched(spec, lattice, schedule)
            gain = Gain.of(found.mean_after, base)
            before = means(base)
            rows.append((spec.name, grid.name, *before, *means(found.mean_after), *gain.texts()))
            facts.append({"model": spec.name, "widths": grid.name, "gain": gain.facts(),
                          "searches": found.reports})  # fmt: skip
            if gain.divergence.low > 0:
                misses.append(f"{spec.name}, {grid.name}: float scales are nearer")
            slowest = max(r["seconds"] for r in found.reports)
            if slowest > TWO_SEARCHES * schedule.seconds:
                misses.append(f"{spec.name}, {lattice.name}: a search took {slowest:.0f} s")
    return Table("searched powers of two, unsearched float scales", columns, rows, facts, misses)


def _misses(grid: Grid, found: Searched, gain: Gain, schedule: Schedule) -> list[str]:
    held, misses = _held(found), list[str]()
    if held and held[1] >= held[0]:
        misses.append("the held-back fitness did not improve")
    if grid.rounded and gain.divergence.low > 0:
        misses.append("worse than learned rounding alone")
    if not grid.rounded and grid.weights == NARROWEST:
        if not gain.divergence.high < 0:
            misses.append("the gain in divergence is within its spread")
        if not gain.top1.low > 0:
            misses.append("the gain in accuracy is within its spread")
    slowest = max(r["seconds"] for r in found.reports)
    if slowest > schedule.seconds * (TWO_SEARCHES if grid.on_lattice else 1):
        misses.append(f"a search took {slowest:.0f} s of {schedule.seconds:.0f} s")
    return misses


def _cells(
    work: Work, spec: ModelSpec, grid: Grid, found: Searched, gain: Gain, schedule: Schedule
) -> tuple[str, ...]:
    slowest = max(r["seconds"] for r in found.reports)
    starts, ends = _ends(found, "before", "after")
    held = _held(found)
    figures = (work.figure(spec, work.floats(spec)), *found.figures)
    return (
        spec.name, grid.name, spec.metric.name, *(f"{figure:.3f}" for figure in figures),
        means(found.before)[0], means(found.mean_after)[0], *gain.texts(),
        f"{starts:.5f} > {ends:.5f}",
        f"{held[0]:.5f} > {held[1]:.5f}" if held else "-",
        f"{slowest:.0f} ({schedule.seconds:.0f})",
    )  # fmt: skip


def _ends(found: Searched, *names: str) -> tuple[float, ...]:
    return tuple(float(np.mean([r[name] for r in found.reports])) for name in names)


def _held(found: Searched) -> tuple[float, float] | None:
    seen = [(r["held_back"][0], r["held_back_after"]) for r in found.reports if r["held_back"]]
    if not seen:
        return None
    before, after = np.mean(seen, 0)
    return float(before), float(after)


def _facts(work: Work, spec: ModelSpec, grid: Grid, found: Searched, gain: Gain) -> Facts:
    after = [[float(rows[:, k].mean()) for rows in found.after] for k in (0, 1)]
    return {
        "model": spec.name, "widths": grid.name, "samples": len(found.before),
        "metric": spec.metric.name, "float": work.figure(spec, work.floats(spec)),
        "figures": found.figures,
        "before": {"divergence": float(found.before[:, 0].mean()),
                   "top1": float(found.before[:, 1].mean())},
        "after": {"divergence": after[0], "top1": after[1]}, "gain": gain.facts(),
        "searches": found.reports,
    }  # fmt: skip
