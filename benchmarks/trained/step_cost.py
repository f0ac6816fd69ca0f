"""What a training step costs: float, on the grid, and sharpness-aware, in one interleaved run."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.optim import Optimizer

from benchmarks.part import Facts, Table
from benchmarks.rounds import Run, interleaved
from benchmarks.statistics import Rows, median_ratio
from benchmarks.trained.budget import Budget
from benchmarks.trained.loops import BATCH, Backward, optimizer_of, plain_step
from benchmarks.trained.networks import GRIDS, SPEC, calibrated
from benchmarks.trained.samples import training
from deployq.graph.preparation import PreparedModel
from deployq.train import SAM, SAQ

ROUNDS, RATE, STEPS = 5, 1e-4, 5
GRID = GRIDS["W4A4"]
Step = Callable[[Backward], object]
GOALS = {
    ("qat", "float", False): 1.8,
    ("qat", "float", True): 1.6,
    ("saq", "qat", False): 2.05,
    ("saq every 5, reuse", "qat", False): 1.25,
}
"""Highest ratio of two steps, eager or compiled."""
COMPILED = ("qat", "saq")
"""What torch.compile is measured with; each graph takes it a minute."""
COLUMNS = ("steps", "torch.compile", "ms", "over", "ratio", "goal")


def step_cost(work: Path, budget: Budget, *, rounds: int = ROUNDS) -> Table:
    """A row for each pair, eager and compiled."""
    facts = list[Facts]()
    for compiled in (False, True):
        times = interleaved(dict(_steps(compiled)), rounds)
        facts += [_facts(pair, times, compiled) for pair in _pairs(compiled)]
    misses = [
        f"{f['step']} over {f['over']}, compiled {f['compiled']}: {f['ratio']:.2f} > {f['goal']}"
        for f in facts
        if f["goal"] is not None and f["ratio"] > f["goal"]
    ]
    return Table("cost of a step", COLUMNS, [_row(f) for f in facts], facts, misses)


def _steps(compiled: bool) -> Iterator[tuple[str, Run]]:
    x, y = next(training(BATCH).stream(BATCH, 0))

    def network(module: nn.Module) -> Backward:
        return Backward(torch.compile(module) if compiled else module, x, y)

    net = SPEC.load().train()
    yield "float", _five(plain_step(torch.optim.SGD(net.parameters(), RATE, 0.9)), network(net))
    for name in COMPILED if compiled else _METHODS:
        prepared = calibrated(GRID)
        prepared.module.train()
        step = _METHODS[name](prepared, optimizer_of(prepared, RATE))
        yield name, _five(step, network(prepared.module))


def _five(step: Step, backward: Backward) -> Run:
    """Five steps in one, of which every schedule has one full one."""
    return lambda: [step(backward) for _ in range(STEPS)]


def _saq(prepared: PreparedModel, optimizer: Optimizer, **schedule: Any) -> Step:
    return SAQ(prepared, optimizer, radius=0.3, **schedule).step


_METHODS: Mapping[str, Callable[[PreparedModel, Optimizer], Step]] = {
    "qat": lambda prepared, optimizer: plain_step(optimizer),
    "sam": lambda prepared, optimizer: SAM(prepared.module, optimizer, radius=0.05).step,
    "saq": _saq,
    "saq every 5, plain": partial(_saq, every=STEPS, between="plain"),
    "saq every 5, reuse": partial(_saq, every=STEPS, between="reuse"),
    "saq every 5, looksam": partial(_saq, every=STEPS, between="looksam"),
}


def _pairs(compiled: bool) -> Iterator[tuple[str, str, bool]]:
    names = COMPILED if compiled else tuple(_METHODS)
    yield "qat", "float", compiled
    yield from ((name, "qat", compiled) for name in names if name != "qat")
    if "sam" in names:
        yield "saq", "sam", compiled


def _facts(pair: tuple[str, str, bool], times: dict[str, Rows], compiled: bool) -> Facts:
    step, over, _ = pair
    found = median_ratio(times[step], times[over])
    return {
        "step": step, "over": over, "compiled": compiled,
        "ms": float(1000 * np.median(times[step]) / STEPS),
        "ratio": found.middle, "interval": [found.low, found.high], "goal": GOALS.get(pair),
    }  # fmt: skip


def _row(facts: Facts) -> tuple[str, ...]:
    low, high = facts["interval"]
    goal = "" if facts["goal"] is None else f"<= {facts['goal']}"
    ratio = f"{facts['ratio']:.2f} [{low:.2f}, {high:.2f}]"
    word = "yes" if facts["compiled"] else "no"
    return (facts["step"], word, f"{facts['ms']:.1f}", facts["over"], ratio, goal)
