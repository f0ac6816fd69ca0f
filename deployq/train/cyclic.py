"""A cyclical learning rate whose lowest point is a step that can be asked for.

SQWA retrains under a cyclical rate and captures models in it (arXiv 2002.00343, abstract). Shape,
bounds and length of its cycles could not be read. ``sawtooth`` is our default; ``triangle`` is that
of fast geometric ensembling, whose lowest point lies at mid-cycle (Garipov et al. 2018,
arXiv 1802.10026; utils.py of the released code).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from deployq.errors import InputError

SHAPES = ("sawtooth", "triangle")


class CyclicLR(LRScheduler):
    """Rates between ``high`` and ``low``, the same in every cycle; ``step()`` it for each batch.

    ``sawtooth`` falls in a line from ``high``, at the first step of a cycle, to ``low``, at its
    last. ``triangle`` falls from ``high`` to ``low`` at mid-cycle and rises again.

    Args:
        optimizer: whose rates are set.
        high, low: rates, 0 <= low < high; one for all parameter groups, or one for each.
        cycle_steps: optimizer steps of a cycle, at least 2.
        shape: ``sawtooth`` or ``triangle``.
        ramp_steps: of a saw-tooth: first steps of a cycle that rise from ``low`` towards ``high``,
            which spares the jump where momentum is left from the low rates; at most
            ``cycle_steps - 2``.
        last_epoch: of the steps that were taken; -1 starts anew.

    Raises:
        InputError: rates, steps or a shape other than these.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        *,
        high: float | Sequence[float],
        low: float | Sequence[float],
        cycle_steps: int,
        shape: str = "sawtooth",
        ramp_steps: int = 0,
        last_epoch: int = -1,
    ) -> None:
        groups = len(optimizer.param_groups)
        self.high, self.low = _for_each_group(high, groups), _for_each_group(low, groups)
        self.cycle_steps, self.shape, self.ramp_steps = cycle_steps, shape, ramp_steps
        self._check(groups)
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float | Tensor]:
        """The rate of each parameter group at the next optimizer step."""
        share = self._share(self.last_epoch % self.cycle_steps)
        ends = zip(self.high, self.low, strict=True)
        return [high * share + low * (1 - share) for high, low in ends]

    def at_minimum(self) -> bool:
        """True when the optimizer step before the last ``step()`` had the cycle's lowest rate.

        Ask after ``step()``: this is the moment to capture a model.
        """
        taken = self.last_epoch - 1
        return taken >= 0 and taken % self.cycle_steps == self._lowest

    @property
    def _lowest(self) -> int:
        """Step of a cycle with the lowest rate; of an odd triangle, the second of two."""
        return self.cycle_steps - 1 if self.shape == "sawtooth" else (self.cycle_steps + 1) // 2

    def _share(self, step: int) -> float:
        """How far a step of a cycle is up from ``low`` to ``high``, 0 to 1."""
        if self.shape == "triangle":
            return abs(1 - 2 * step / self.cycle_steps)
        if step < self.ramp_steps:
            return (step + 1) / (self.ramp_steps + 1)
        return 1 - (step - self.ramp_steps) / (self.cycle_steps - 1 - self.ramp_steps)

    def _check(self, groups: int) -> None:
        _require("shape", self.shape in SHAPES, self.shape, " or ".join(SHAPES))
        _require("cycle_steps", self.cycle_steps >= 2, self.cycle_steps, "2 or more")
        most = self.cycle_steps - 2 if self.shape == "sawtooth" else 0
        _require("ramp_steps", 0 <= self.ramp_steps <= most, self.ramp_steps, f"0 to {most}")
        each = len(self.high) == len(self.low) == groups
        _require("high, low", each, [self.high, self.low], f"one rate, or {groups}")
        for high, low in zip(self.high, self.low, strict=True):
            found = f"high {high}, low {low}"
            _require("high, low", 0 <= low < high < math.inf, found, "0 <= low < high, finite")


def _for_each_group(rate: float | Sequence[float], groups: int) -> list[float]:
    return list(rate) if isinstance(rate, Sequence) else [rate] * groups


def _require(where: str, holds: bool, found: object, allowed: str) -> None:
    if not holds:
        raise InputError(
            f"CyclicLR: {where}",
            "a cycle falls from a high rate to a low one in whole steps",
            found=str(found),
            allowed=allowed,
            next_step=f"correct {where}",
        )
