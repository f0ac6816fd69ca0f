"""ResNet-20 on the grids that the tables compare."""

from __future__ import annotations

from dataclasses import dataclass

import deployq
from benchmarks.models.registry import MODELS
from deployq.graph.preparation import PreparedModel
from deployq.graph.recipe import LayerRecipe, Recipe
from deployq_calibration.calibration_settings import CalibrationSettings

SPEC = MODELS["cifar10_resnet20"]
CALIBRATING = 256


@dataclass(frozen=True)
class Grid:
    """Widths on a target; first and last layers have 8 bits.

    Args:
        name: as tables say it.
        target: profile.
        weights, activations: widths of what lies between.
    """

    name: str
    target: str
    weights: int
    activations: int

    def recipe(self) -> Recipe:
        """What ``prepare`` is asked for: the scores keep 8 bits, two would tie."""
        scores = {"linear": LayerRecipe(activation_bits=8)}
        return Recipe(self.weights, self.activations, scores, first_bits=8, last_bits=8)


GRIDS = {
    grid.name: grid
    for grid in (
        Grid("W4A4", "lowbit-vlsi", 4, 4),
        Grid("W3A3", "lowbit-vlsi", 3, 3),
        Grid("W2A2", "lowbit-vlsi", 2, 2),
        Grid("W2A8", "lowbit-vlsi", 2, 8),
    )
}


def calibrated(grid: Grid) -> PreparedModel:
    """The trained float network on a grid, ranges from the first training images."""
    prepared = deployq.prepare(SPEC.load(), [SPEC.example()], grid.target, grid.recipe())
    data = SPEC.calibration().take(CALIBRATING)
    return deployq.calibrate(prepared, data, CalibrationSettings(corrections=()))
