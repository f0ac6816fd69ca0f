"""The cyclical rate: its shape, its lowest point, and a resumed one."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import nn

from deployq.errors import InputError
from deployq.train import CyclicLR


def optimizer_of(groups: int = 1) -> torch.optim.Optimizer:
    return torch.optim.SGD([{"params": [nn.Parameter(torch.zeros(1))]} for _ in range(groups)], 0.5)


def walked(schedule: CyclicLR, steps: int) -> tuple[list[float], list[int]]:
    """The rate of each step of the optimizer, and the steps that were a minimum."""
    rates, lowest = [], []
    for step in range(steps):
        assert not schedule.at_minimum() or step
        rates.append(schedule.optimizer.param_groups[-1]["lr"])
        schedule.optimizer.step()
        schedule.step()
        if schedule.at_minimum():
            lowest.append(step)
    return rates, lowest


@pytest.mark.parametrize(
    ("facts", "rates", "lowest"),
    [
        ({"cycle_steps": 4}, [7, 5, 3, 1] * 2, [3, 7]),
        ({"cycle_steps": 2}, [7, 1] * 3, [1, 3, 5]),
        ({"cycle_steps": 5, "ramp_steps": 2}, [3, 5, 7, 4, 1] * 2, [4, 9]),
        ({"cycle_steps": 4, "shape": "triangle"}, [7, 4, 1, 4] * 2, [2, 6]),
        ({"cycle_steps": 3, "shape": "triangle"}, [7, 3, 3] * 2, [2, 5]),
    ],
    ids=["sawtooth", "shortest", "ramp", "triangle", "odd triangle"],
)
def test_the_minimum_is_the_step_with_the_lowest_rate(
    facts: dict[str, Any], rates: list[float], lowest: list[int]
) -> None:
    found = walked(CyclicLR(optimizer_of(), high=7.0, low=1.0, **facts), len(rates))
    assert found[0] == pytest.approx(rates)
    assert found[1] == lowest
    assert {found[0][step] for step in lowest} == {min(found[0])}


def test_groups_have_rates_of_their_own() -> None:
    schedule = CyclicLR(optimizer_of(2), high=[4.0, 2.0], low=[1.0, 0.0], cycle_steps=3)
    assert walked(schedule, 3)[0] == [2.0, 1.0, 0.0]
    assert schedule.get_last_lr() == [4.0, 2.0]


def test_a_schedule_resumes_in_the_middle_of_a_cycle() -> None:
    schedule = CyclicLR(optimizer_of(), high=1.0, low=0.1, cycle_steps=5)
    walked(schedule, 7)
    state = copy.deepcopy(schedule.state_dict()), copy.deepcopy(schedule.optimizer.state_dict())
    resumed = CyclicLR(optimizer_of(), high=2.0, low=0.2, cycle_steps=9)
    resumed.load_state_dict(state[0])
    resumed.optimizer.load_state_dict(state[1])
    assert walked(resumed, 8) == walked(schedule, 8)


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        ({"shape": "cosine"}, r"shape: .*\n  found: cosine\n  allowed: sawtooth or triangle"),
        ({"cycle_steps": 1}, r"cycle_steps: .*\n  found: 1\n  allowed: 2 or more"),
        ({"ramp_steps": 3}, r"ramp_steps: .*\n  found: 3\n  allowed: 0 to 2"),
        ({"ramp_steps": 1, "shape": "triangle"}, r"ramp_steps: .*\n  found: 1\n  allowed: 0 to 0"),
        ({"high": [1.0, 2.0]}, r"high, low: .*\n.*\n  allowed: one rate, or 1"),
        ({"low": 1.0}, r"high, low: .*\n  found: high 1.0, low 1.0"),
        ({"low": -0.1}, r"high, low: .*\n  found: high 1.0, low -0.1"),
        ({"high": float("nan")}, r"high, low: .*\n  found: high nan"),
    ],
)
def test_other_cycles_are_refused(facts: dict[str, Any], message: str) -> None:
    given = {"high": 1.0, "low": 0.1, "cycle_steps": 4, **facts}
    with pytest.raises(InputError, match=message):
        CyclicLR(optimizer_of(), **given)
