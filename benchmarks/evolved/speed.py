"""A pass of the search against the straightforward one: the same scales, in less time."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch

import deployq
from benchmarks.evolved.budget import Budget
from benchmarks.evolved.grids import PLAIN
from benchmarks.evolved.searches import Work
from benchmarks.evolved.straightforward import evolve_straightforward
from benchmarks.models.registry import TRANSFORMERS
from benchmarks.part import Table
from benchmarks.statistics import median_ratio
from deployq.data import Dataset
from deployq.graph.preparation import PreparedModel
from deployq.progress import progress
from deployq_calibration.evolq import EvolveSettings
from deployq_calibration.evolq.sites import search_blocks

COLUMNS = (
    "model", "blocks", "images", "rounds", "straightforward s", "deployq s", "times as fast",
    "with validation, computed", "same scales",
)  # fmt: skip
GOAL = 1.9
VALIDATED = 50
"""Validation images of the released loop for each image of the fitness, after every block."""


def speed(folder: Path, budget: Budget) -> Table:
    """Processor time of one pass, both searches in turn; the scales at the end are compared."""
    name, images, batch = budget.speed
    spec, grid, work = TRANSFORMERS[name], PLAIN[0], Work(folder, budget)
    settings = EvolveSettings(passes=1, samples=images, batch=batch, held_back=0.0)
    data, teacher = Dataset(dict(spec.calibration().take(images).inputs)), spec.load()
    (x,) = data.inputs.values()
    searches: dict[str, Callable[[PreparedModel], object]] = {
        "deployq": lambda m: deployq.evolve_scales(m, data, settings, teacher=teacher),
        "straightforward": lambda m: evolve_straightforward(
            m, torch.from_numpy(x), teacher, settings
        ),
    }
    times: dict[str, list[float]] = {name: [] for name in searches}
    same = True
    with progress(budget.rounds[0]) as advance:
        for number in range(budget.rounds[0]):
            advance(f"round {number + 1}")
            ends = []
            for method, search in searches.items():
                prepared = work.calibrated(spec, grid)
                begun = time.process_time()
                search(prepared)
                times[method].append(time.process_time() - begun)
                ends.append(prepared.module.state_dict())
            same = same and all(torch.equal(tensor, ends[1][n]) for n, tensor in ends[0].items())
    quick, slow = times["deployq"], times["straightforward"]
    blocks = len(search_blocks(work.calibrated(spec, grid), settings))
    ratio = median_ratio(np.array(slow), np.array(quick))
    validated = ratio.middle * (1 + VALIDATED / (settings.children + 1))
    misses = [] if same else ["the scales at the end differ"]
    if ratio.middle < GOAL:
        misses.append(f"{ratio.middle:.2f} times as fast, the goal is {GOAL}")
    row = (
        name, str(blocks), str(images), str(len(quick)), f"{np.median(slow):.1f}",
        f"{np.median(quick):.1f}", ratio.text(2), f"{validated:.1f}", "yes" if same else "no",
    )  # fmt: skip
    facts = {"model": name, "images": images, "straightforward": slow, "deployq": quick,
             "ratio": asdict(ratio), "with_validation": validated, "same": same}  # fmt: skip
    return Table("one pass of the search", COLUMNS, [row], [facts], misses)
