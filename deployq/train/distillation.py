"""Knowledge distillation: the float network teaches the quantized one."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

from deployq.errors import InputError


def distillation_loss(
    student: Tensor,
    teacher: Tensor,
    labels: Tensor,
    temperature: float = 4.0,
    weight: float = 0.5,
) -> Tensor:
    """``weight T^2 KL(teacher_T || student_T) + (1 - weight) CE(student, labels)``, batch mean.

    Hinton et al. 2015 (arXiv 1503.02531), section 2: soft targets at temperature T, whose gradient
    T**2 brings back to the size that it has at T = 1. Temperature and weight are our defaults.

    Args:
        student: (N, C) scores; gradients flow to them.
        teacher: (N, C) scores of the float network; none flow to these.
        labels: (N,) classes.
        temperature: above 0.
        weight: of the soft targets, 0 to 1.

    Raises:
        InputError: temperature or weight out of range.
    """
    _check("temperature", temperature, temperature > 0, "above 0")
    _check("weight", weight, 0 <= weight <= 1, "0 to 1")
    soft = functional.kl_div(
        functional.log_softmax(student / temperature, 1),
        functional.log_softmax(teacher.detach() / temperature, 1),
        reduction="batchmean",
        log_target=True,
    )
    hard = functional.cross_entropy(student, labels)
    return weight * temperature**2 * soft + (1 - weight) * hard


def _check(name: str, value: float, good: bool, allowed: str) -> None:
    if not good:
        raise InputError(
            f"distillation_loss: {name}",
            "a setting of distillation is in its range",
            found=str(value),
            allowed=allowed,
            next_step=f"correct {name}",
        )
