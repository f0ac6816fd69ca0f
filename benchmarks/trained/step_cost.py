"""What a training step costs: float, on the grid, and sharpness-aware, in one interleaved run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch import nn

from benchmarks.part import Facts, Table
from benchmarks.rounds import Run, interleaved
from benchmarks.statistics import Rows, median_ratio
from benchmarks.trained.budget import Budget
from benchmarks.trained.loops import BATCH, Backward, optimizer_of, plain_step
from benchmarks.trained.networks import GRIDS, SPEC, calibrated
from benchmarks.trained.samples import training
from deployq.graph.preparation import PreparedModel
from deployq.train import SAM, SAQ
from deployq.train.two_passes import TwoPasses

ROUNDS, RATE = 5, 1e-4
GRID = GRIDS["W4A4"]
GOALS = {
    ("qat", "float", False): 1.8,
    ("qat", "float", True): 1.6,
    ("saq", "qat", False): 2.05,
    ("saq every 5, reuse", "qat", False): 1.25,
}
"""Highest ratio of two steps, eager or compiled."""
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
    step, backward = plain_step(torch.optim.SGD(net.parameters(), RATE, 0.9)), network(net)
    yield "float", lambda: step(backward)
    for name, make in _METHODS.items():
        prepared = calibrated(GRID)
        prepared.module.train()
        yield name, _bound(make(prepared, optimizer_of(prepared, RATE)), network(prepared.module))


def _bound(step: Callable[[Backward], object], backward: Backward) -> Run:
    return lambda: step(backward)


def _sharp(method: TwoPasses) -> Callable[[Backward], object]:
    return method.step


_METHODS: dict[str, Callable[[PreparedModel, torch.optim.Optimizer], Callable[[Backward], object]]]
_METHODS = {
    "qat": lambda prepared, optimizer: plain_step(optimizer),
    "sam": lambda p, o: _sharp(SAM(p.module, o, radius=0.05)),
    "saq": lambda p, o: _sharp(SAQ(p, o, radius=0.3)),
    "saq every 5, plain": lambda p, o: _every_five(p, o, "plain"),
    "saq every 5, reuse": lambda p, o: _every_five(p, o, "reuse"),
    "saq every 5, looksam": lambda p, o: _every_five(p, o, "looksam"),
}


def _every_five(
    prepared: PreparedModel, optimizer: torch.optim.Optimizer, between: str
) -> Callable[[Backward], object]:
    """Five steps in one, of which one is full: blocks of any length cost the same."""
    saq = SAQ(prepared, optimizer, radius=0.3, every=5, between=between)

    def five(backward: Backward) -> object:
        return [saq.step(backward) for _ in range(5)]

    return five


def _pairs(compiled: bool) -> Iterator[tuple[str, str, bool]]:
    yield "qat", "float", compiled
    for name in _METHODS:
        if name != "qat":
            yield name, "qat", compiled
    yield "saq", "sam", compiled


def _facts(pair: tuple[str, str, bool], times: dict[str, Rows], compiled: bool) -> Facts:
    step, over, _ = pair
    counted = {name: rows / (5 if "every 5" in name else 1) for name, rows in times.items()}
    found = median_ratio(counted[step], counted[over])
    return {
        "step": step, "over": over, "compiled": compiled,
        "ms": float(1000 * sorted(counted[step])[len(counted[step]) // 2]),
        "ratio": found.middle, "interval": [found.low, found.high], "goal": GOALS.get(pair),
    }  # fmt: skip


def _row(facts: Facts) -> tuple[str, ...]:
    low, high = facts["interval"]
    goal = "" if facts["goal"] is None else f"<= {facts['goal']}"
    ratio = f"{facts['ratio']:.2f} [{low:.2f}, {high:.2f}]"
    word = "yes" if facts["compiled"] else "no"
    return (facts["step"], word, f"{facts['ms']:.1f}", facts["over"], ratio, goal)
