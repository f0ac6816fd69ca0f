"""The loss of a recipe: labels, and the float model where it teaches."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils import _pytree as pytree

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
        hard = functional.cross_entropy(scores, labels, label_smoothing=self.smoothing)
        if self.teacher is None or self.distillation is None:
            return hard
        with torch.no_grad():
            taught = first_output(self.teacher(*inputs))
        share = self.distillation.weight
        return (1 - share) * hard + share * soft_loss(scores, taught, self.distillation.temperature)


def soft_loss(scores: Tensor, taught: Tensor, temperature: float) -> Tensor:
    """``T^2 KL(softmax(taught / T) || softmax(scores / T))``, the mean over samples.

    Hinton et al. 2015, arXiv 1503.02531, section 2: ``T^2`` keeps the size of the gradients.
    """
    student = functional.log_softmax(scores / temperature, 1)
    teacher = functional.log_softmax(taught / temperature, 1)
    divergence = functional.kl_div(student, teacher, reduction="batchmean", log_target=True)
    return temperature**2 * divergence


def first_output(returned: Any) -> Tensor:
    """The first output of a network, in float32."""
    output: Tensor = pytree.tree_leaves(returned)[0]
    return output.float()
