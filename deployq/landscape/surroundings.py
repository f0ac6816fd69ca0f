"""What lies around a quantized model: moves of its quantized weights, and how the loss rises."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from deployq.data import Dataset
from deployq.errors import InputError
from deployq.graph.preparation import PreparedModel
from deployq.landscape.batches import Loss, labelled_batches
from deployq.landscape.measuring import DATA
from deployq.landscape.weight_loss import WeightLoss
from deployq.train.ball import TINY
from deployq.train.saq import Units
from deployq.train.two_passes import check_radius

RADIUS = 0.3
"""Of the default moves, in standard deviations of each layer's weight."""

DIRECTIONS = 10
"""Random ones, by default."""


@dataclass(frozen=True, eq=False)
class Surroundings:
    """The loss around one model.

    Args:
        weights: the loss at moves of the quantized weights.
        base: the loss at the model, finite.
        samples: of the loss.
    """

    weights: WeightLoss
    base: float
    samples: int

    @classmethod
    def of(
        cls, prepared: PreparedModel, data: Dataset, samples: int | None, loss: Loss, units: Units
    ) -> Surroundings:
        """Of the first samples, or of all.

        Raises:
            InputError: nothing quantized, a quantizer that is not calibrated, data that does not
                fit or has no labels, or a loss that is not finite.
        """
        batches = labelled_batches(DATA, prepared, data, samples)
        weights = WeightLoss(prepared, batches, loss, by_deviation=Units(units) is Units.DEVIATION)
        base = weights.at()
        if not math.isfinite(base):
            raise InputError(
                "the loss",
                "sharpness is measured around a finite loss",
                found=str(base),
                next_step="train or load the model again",
            )
        return cls(weights, base, sum(map(len, batches)))

    def rise(self, direction: Tensor, radius: float) -> float:
        """Of the loss at a radius along a direction (P,)."""
        rate: Tensor = radius / (direction.norm() + TINY)
        return self.weights.at(direction * rate) - self.base

    def random(self, generator: torch.Generator) -> Tensor:
        """(P,) of a normal distribution; the same on every device."""
        drawn = torch.randn(self.weights.size, generator=generator)
        return drawn.to(self.weights.device)


def check_moves(radius: float, directions: int) -> None:
    """Refuse moves that go nowhere.

    Raises:
        InputError: a radius that is not positive and finite, or no direction.
    """
    check_radius(radius)
    if directions < 1:
        raise InputError(
            "directions",
            "random directions are at least one",
            found=str(directions),
            allowed=">= 1",
            next_step=f"{DIRECTIONS} give a mean and a worst case",
        )
