"""The course of a learning rate, and which parameters are in which group."""

from __future__ import annotations

import pytest

from deployq.train import learn_scales
from deployq.trainer.optimizing import make_optimizer, rate_factor
from deployq.trainer.tables import OptimizerTable, ScalesTable, ScheduleTable
from tests.train.loops import smooth


def test_rates_rise_and_fall() -> None:
    cosine = rate_factor(ScheduleTable(warmup_epochs=1), 3, 4)
    assert [cosine(step) for step in range(4)] == [0.25, 0.5, 0.75, 1.0]
    assert cosine(4) == 1.0 and cosine(8) == pytest.approx(0.5) and cosine(12) == 0.0
    steps = rate_factor(ScheduleTable(kind="step", milestones=(1, 2)), 3, 2)
    assert [steps(step) for step in range(6)] == pytest.approx([1, 1, 0.1, 0.1, 0.01, 0.01])
    assert rate_factor(ScheduleTable(kind="constant"), 3, 2)(5) == 1.0


@pytest.mark.parametrize("kind", ["sgd", "adamw"])
def test_scales_have_a_group_without_decay(kind: str) -> None:
    prepared = smooth()
    scales = learn_scales(prepared)
    table = OptimizerTable(kind=kind, rate=0.2, weight_decay=0.3)  # type: ignore[arg-type]  # a word of the table
    optimizer = make_optimizer(prepared, table, ScalesTable(rate=0.5))
    weights, *steps = optimizer.param_groups
    assert (weights["lr"], weights["weight_decay"]) == (0.2, 0.3)
    assert not {id(p) for p in weights["params"]} & {id(p) for p in scales}
    assert {id(p) for group in steps for p in group["params"]} == {id(p) for p in scales}
    for group in steps:
        unit = float(group["params"][0].detach().mean())
        assert group["lr"] == pytest.approx(0.1 * unit) and group["weight_decay"] == 0.0
