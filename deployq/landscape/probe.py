"""The loss at points around a prepared model, its BatchNorm statistics measured at each."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from deployq.graph.modes import evaluation_mode
from deployq.graph.preparation import PreparedModel
from deployq.landscape.batches import Batch, Loss, mean_loss
from deployq.landscape.given_weights import given_weights
from deployq.landscape.points import Point, move_floats
from deployq.train.norm_statistics import reestimate_norms


@dataclass(frozen=True)
class Samples:
    """What a loss is measured on.

    Args:
        labelled: batches by what their loss is called.
        norms: inputs that BatchNorm statistics are measured on; None leaves a point's own.
        loss: of the output and labels.
        seed: of Dropout while statistics are measured.
    """

    labelled: Mapping[str, Sequence[Batch]]
    norms: Sequence[Sequence[Tensor]] | None
    loss: Loss
    seed: int = 0


class Probe:
    """Moves a copy of a model about.

    Args:
        prepared: stays as it is; its weight quantizers are the grid.
        samples: what the loss is measured on.
    """

    def __init__(self, prepared: PreparedModel, samples: Samples) -> None:
        self._model = replace(prepared, module=copy.deepcopy(prepared.module))
        self._samples = samples

    def losses(self, point: Point, *, on_grid: bool = False) -> dict[str, float]:
        """Losses at a point, by data; they depend on nothing that was measured before.

        Args:
            point: its weights are taken as they are.
            on_grid: quantize the weights of the point, by the steps of the model.
        """
        model, weights = self._model, self._on_grid(point.weights) if on_grid else point.weights
        move_floats(model, point)
        with given_weights(model, weights):
            if self._samples.norms is not None:
                self._measure_norms(self._samples.norms)
            with evaluation_mode(model.module):
                return {
                    name: mean_loss(model.module, batches, self._samples.loss)
                    for name, batches in self._samples.labelled.items()
                }

    @torch.no_grad()
    def _on_grid(self, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        units = self._model.units()
        return {name: units[name].weight_quantizer(weight) for name, weight in weights.items()}

    def _measure_norms(self, batches: Sequence[Sequence[Tensor]]) -> None:
        devices = {tensor.device for inputs in batches for tensor in inputs}
        with torch.random.fork_rng([device for device in devices if device.type == "cuda"]):
            torch.manual_seed(self._samples.seed)
            reestimate_norms(self._model, batches)
