"""The loss of a recipe: labels, and the float model where it teaches."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils import _pytree as pytree

from deployq.train import distillation_loss
from deployq.trainer.tables import DistillationTable


class Criterion:
    """Mean loss of a batch of scores.

    Args:
        smoothing: of labels, in [0, 1).
        distillation: how the teacher counts; None where there is none.
        teacher: the float model, in evaluation mode.
    """

    def __init__(
        self, smoothing: float, distillation: DistillationTable | None, teacher: nn.Module | None
    ) -> None:
        self.smoothing = smoothing
        self.distillation = distillation
        self.teacher = teacher

    def __call__(self, scores: Tensor, inputs: list[Tensor], labels: Tensor) -> Tensor:
        """A number, of scores (n, classes), the inputs that gave them and labels (n,)."""
        if self.teacher is None or self.distillation is None:
            return functional.cross_entropy(scores, labels, label_smoothing=self.smoothing)
        with torch.no_grad():
            taught = first_output(self.teacher(*inputs))
        table = self.distillation
        return distillation_loss(scores, taught, labels, table.temperature, table.weight)


def first_output(returned: Any) -> Tensor:
    """The first output of a network, in float32."""
    output: Tensor = pytree.tree_leaves(returned)[0]
    return output.float()
