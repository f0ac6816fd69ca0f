"""ResNet-20, and a network that one target lacks no operator of, on the grids of the tables."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

import deployq
from benchmarks.models.registry import MODELS
from benchmarks.models.spec import ModelSpec
from deployq.graph.preparation import PreparedModel
from deployq.graph.recipe import LayerRecipe, Recipe
from deployq.train import learn_scales
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
        model: the network.
    """

    name: str
    target: str
    weights: int
    activations: int
    model: str = SPEC.name

    @property
    def spec(self) -> ModelSpec:
        return MODELS[self.model]

    def recipe(self) -> Recipe:
        """What ``prepare`` is asked for: the scores keep 8 bits, two would tie."""
        last = "linear" if self.model == SPEC.name else "fc"
        scores = {last: LayerRecipe(activation_bits=8)}
        return Recipe(self.weights, self.activations, scores, first_bits=8, last_bits=8)


GRIDS = {
    grid.name: grid
    for grid in (
        Grid("W4A4", "lowbit-vlsi", 4, 4),
        Grid("W3A3", "lowbit-vlsi", 3, 3),
        Grid("W2A2", "lowbit-vlsi", 2, 2),
        Grid("W2A8", "lowbit-vlsi", 2, 8),
        Grid("W4A8-int4", "int4-npu", 4, 8),
        Grid("W2A8-int2", "int2-vlsi", 2, 8, "cifar10_mlperf_resnet8"),
    )
}


class Network:
    """The calibrated network of a grid, which starts again from there for every training.

    One module for all, so that it is compiled once.
    """

    def __init__(self, grid: Grid) -> None:
        self._prepared = calibrated(grid)
        state = self._prepared.module.state_dict().items()
        self._start = {name: tensor.clone() for name, tensor in state}
        self.compiled: Callable[[Tensor], Tensor] = torch.compile(self._prepared.module)

    def restarted(self) -> PreparedModel:
        """As it was calibrated; what was trained before is overwritten."""
        learn_scales(self._prepared)
        for unit in self._prepared.units().values():
            unit.frozen_statistics = False
        self._prepared.module.load_state_dict(self._start)
        return self._prepared


@cache
def network(widths: str) -> Network:
    """Of one of :data:`GRIDS`."""
    return Network(GRIDS[widths])


def calibrated(grid: Grid) -> PreparedModel:
    """The trained float network on a grid, ranges from the first training images."""
    spec = grid.spec
    prepared = deployq.prepare(spec.load(), [spec.example()], grid.target, grid.recipe())
    data = spec.calibration().take(CALIBRATING)
    return deployq.calibrate(prepared, data, CalibrationSettings(corrections=()))
