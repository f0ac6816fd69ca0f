"""Networks calibrated and searched, each kept in the folder of a run with what it gives."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

import deployq
from benchmarks.evolved.budget import Budget, Schedule
from benchmarks.evolved.grids import Grid
from benchmarks.evolved.worth import Scores, rows_of
from benchmarks.models.registry import LANGUAGE, TRANSFORMERS
from benchmarks.models.spec import ModelSpec
from benchmarks.part import Facts
from benchmarks.statistics import Rows
from deployq import pipeline
from deployq.data import Dataset
from deployq.graph.modes import evaluation_mode
from deployq.graph.preparation import PreparedModel
from deployq_calibration.calibration_settings import CalibrationSettings

BATCH = 50
NETWORKS = TRANSFORMERS | LANGUAGE


@dataclass(frozen=True)
class Searched:
    """A network on a grid before and after searches.

    Args:
        before: rows of the reporting images.
        after: the same behind the search of each seed.
        figures: the network's own metric before, and the mean over the seeds.
        reports: what each search said, and its seconds.
    """

    before: Rows
    after: list[Rows]
    figures: tuple[float, float]
    reports: list[Facts]

    @property
    def mean_after(self) -> Rows:
        """Each image's mean over the seeds, (N, 2)."""
        return np.mean(np.stack(self.after), 0)


class Work:
    """The networks of a run.

    Args:
        folder: finished models and scores; a later run goes on from there.
        budget: sizes.
    """

    def __init__(self, folder: Path, budget: Budget) -> None:
        self.folder, self.budget = folder, budget

    def networks(self) -> list[tuple[ModelSpec, Schedule]]:
        """Those of the budget."""
        return [(NETWORKS[name], s) for name, s in self.budget.schedules.items()]

    def vision(self) -> list[tuple[ModelSpec, Schedule]]:
        """Those that look at images."""
        return [(spec, s) for spec, s in self.networks() if spec.name in TRANSFORMERS]

    def reporting(self, spec: ModelSpec) -> tuple[Dataset, npt.NDArray[np.int64]]:
        """Images that took no part in anything else, and labels."""
        data = _reporting(spec.name)
        few = data.take(min(len(data), self.budget.reported))
        assert few.labels is not None
        return few, few.labels

    def floats(self, spec: ModelSpec) -> Scores:
        """Of the float network on the reporting images."""
        return self._kept(f"{spec.name}.float", lambda: self._scores(spec, spec.load()))

    def calibrated(self, spec: ModelSpec, grid: Grid) -> PreparedModel:
        """With the scales that a search starts from."""
        path = self.folder / f"{spec.name}.{_slug(grid.name)}"
        if not path.is_dir():
            prepared = deployq.prepare(spec.load(), [spec.example()], grid.target, grid.recipe())
            settings = CalibrationSettings(
                corrections=grid.corrections, iterations=self.budget.iterations
            )
            deployq.calibrate(prepared, spec.calibration(), settings)
            pipeline.save_prepared(prepared, path)
        return pipeline.load_prepared(path)

    def figure(self, spec: ModelSpec, scores: Scores) -> float:
        """The network's own metric."""
        rows = spec.metric.rows([scores], [self.floats(spec)], self.reporting(spec)[0])
        return spec.metric.statistic(rows)

    def unsearched(self, spec: ModelSpec, grid: Grid) -> Rows:
        """The network as it was calibrated."""
        return rows_of(self._before(spec, grid), self.floats(spec), self.reporting(spec)[1])

    def _before(self, spec: ModelSpec, grid: Grid) -> Scores:
        name = f"{spec.name}.{_slug(grid.name)}"
        return self._kept(name, lambda: self._scores(spec, self.calibrated(spec, grid).module))

    def searched(self, spec: ModelSpec, grid: Grid, schedule: Schedule) -> Searched:
        """The network before, and behind a search of each seed."""
        floats, (_, labels) = self.floats(spec), self.reporting(spec)
        start = f"{spec.name}.{_slug(grid.name)}"
        after, figures, reports = list[Rows](), list[float](), list[Facts]()
        for seed in range(self.budget.seeds):
            prepared, report = self.tuned(spec, grid, schedule, seed)
            make = partial(self._scores, spec, prepared.module)
            found = self._kept(f"{start}.{seed}", make)
            after.append(rows_of(found, floats, labels))
            figures.append(self.figure(spec, found))
            reports.append(report)
        ends = self.figure(spec, self._before(spec, grid)), float(np.mean(figures))
        return Searched(self.unsearched(spec, grid), after, ends, reports)

    def tuned(
        self, spec: ModelSpec, grid: Grid, schedule: Schedule, seed: int
    ) -> tuple[PreparedModel, Facts]:
        """The network behind one search, and what the search said."""
        path = self.folder / f"{spec.name}.{_slug(grid.name)}.{seed}"
        told = path.with_name(f"{path.name}.json")
        if not told.exists():
            prepared = self.calibrated(spec, grid)
            more: dict[str, Any] = {"seed": seed, "device": self.budget.device}
            if grid.rounded:
                more |= schedule.frozen
            if grid.weights == 8:
                more |= schedule.at_8_bits
            if grid.on_lattice:
                more["activations"] = False
            begun, clock = time.process_time(), time.perf_counter()
            evolved = deployq.evolve_scales(
                prepared, samples(spec, schedule, grid), schedule.settings(**more),
                teacher=spec.load(),
            )  # fmt: skip
            report = {
                "before": evolved.before, "after": evolved.after, "held_back": evolved.held_back,
                "held_back_after": evolved.held_back_after,
                "evaluations": evolved.evaluations, "seconds": time.process_time() - begun,
                "clock": time.perf_counter() - clock, "device": self.budget.device,
            }  # fmt: skip
            pipeline.save_prepared(prepared, path)
            told.write_text(json.dumps(report))
        return pipeline.load_prepared(path), json.loads(told.read_text())

    def _scores(self, spec: ModelSpec, module: nn.Module) -> Scores:
        (x,) = self.reporting(spec)[0].inputs.values()
        with evaluation_mode(module), torch.no_grad():
            parts = [module(part).numpy() for part in torch.from_numpy(x).split(BATCH)]
        return np.concatenate(parts)

    def _kept(self, name: str, make: Callable[[], Scores]) -> Scores:
        path = self.folder / f"{name}.{self.budget.reported}.scores.npy"
        if not path.exists():
            np.save(path, make())
        found: Scores = np.load(path)
        return found


def samples(spec: ModelSpec, schedule: Schedule, grid: Grid) -> Dataset:
    """Unlabelled images for a search: those that calibrate, then those that may choose.

    Behind learned rounding these come first: images that codes were fitted to say nothing of
    others, and held back they would say that the search does well.
    """
    parts = [d.inputs for d in (spec.calibration(), spec.choosing())]
    if grid.rounded:
        parts.reverse()
    wanted: int = schedule.settings(0).samples
    joined: dict[str, Any] = {n: np.concatenate([p[n] for p in parts])[:wanted] for n in parts[0]}
    return Dataset(joined)


@cache
def _reporting(name: str) -> Dataset:
    return NETWORKS[name].reporting()


def _slug(name: str) -> str:
    return name.replace(" ", "-")
