"""What a network's outputs are compared with the float network's by: lower is better.

All are computed in float64 over one batch: differences between candidates are 1e-5 of the value,
near the resolution of float32.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional


class Fitness(StrEnum):
    """Which of the functions here."""

    INFONCE = "infonce"
    LINEAR = "linear_infonce"
    MSE = "mse"
    COSINE = "cosine"
    KL = "kl"


def infonce(student: Tensor, teacher: Tensor, tau: float = 3.0) -> Tensor:
    """``2 tau mean_i [log sum_j exp(q_i . k_j / tau) - q_i . k_i / tau]`` of unit rows q and k.

    The positive of a row is what the teacher says of the same sample, its negatives what it says of
    the others; one direction (released code of Evol-Q).

    Args:
        student, teacher: (N, K), N at least 2.
        tau: temperature, above 0.

    Returns:
        A float64 scalar.
    """
    similar = _similarities(student, teacher) / tau
    return 2 * tau * (similar.logsumexp(1) - similar.diagonal()).mean()


def linear_infonce(student: Tensor, teacher: Tensor, tau: float = 3.0) -> Tensor:
    """What :func:`infonce` tends to at high temperatures, first order: all rows together count."""
    similar = _similarities(student, teacher)
    apart = similar.mean() - similar.diagonal().mean()
    return 2 * tau * math.log(len(student)) + 2 * apart


def mse(student: Tensor, teacher: Tensor, tau: float = 3.0) -> Tensor:
    """Mean squared error."""
    return (student.double() - teacher.double()).square().mean()


def cosine(student: Tensor, teacher: Tensor, tau: float = 3.0) -> Tensor:
    """Mean cosine of the rows, negative: higher is nearer."""
    return -(_unit(student) * _unit(teacher)).sum(1).mean()


def kl(student: Tensor, teacher: Tensor, tau: float = 3.0) -> Tensor:
    """``KL(softmax k || softmax q)`` in nats over the last axis, its mean over all others.

    Args:
        student, teacher: (N, ..., K); K classes.
    """
    wanted, found = (functional.log_softmax(x.double(), -1) for x in (teacher, student))
    return (wanted.exp() * (wanted - found)).sum(-1).mean()


FUNCTIONS: Mapping[Fitness, Callable[[Tensor, Tensor, float], Tensor]] = {
    Fitness.INFONCE: infonce,
    Fitness.LINEAR: linear_infonce,
    Fitness.MSE: mse,
    Fitness.COSINE: cosine,
    Fitness.KL: kl,
}


def _similarities(student: Tensor, teacher: Tensor) -> Tensor:
    """(N, N) cosines of every row with every row."""
    return _unit(student) @ _unit(teacher).T


def _unit(rows: Tensor) -> Tensor:
    return functional.normalize(rows.double(), dim=1)


class Taught(Protocol):
    """A batch with what the float network says of it."""

    @property
    def outputs(self) -> tuple[Tensor, ...]:
        """(N, ...) each."""

    @property
    def teacher(self) -> Tensor:
        """(N, K): all of them in one row."""


def compared(fitness: Fitness, student: Sequence[Tensor], taught: Taught, tau: float) -> Tensor:
    """Fitness of a network's outputs on one batch.

    KL is that of each output, over its own classes, summed; all others take what belongs to a
    sample as one row.
    """
    if fitness is not Fitness.KL:
        return FUNCTIONS[fitness](flat(student), taught.teacher, tau)
    pairs = zip(student, taught.outputs, strict=True)
    return torch.stack([kl(_classes(q), _classes(k), tau) for q, k in pairs]).sum()


def _classes(output: Tensor) -> Tensor:
    """An output without an axis of classes has one class."""
    return output if output.ndim > 1 else output.reshape(-1, 1)


def flat(outputs: Sequence[Tensor]) -> Tensor:
    """(N, K): all outputs of each sample in one row."""
    return torch.cat([output.reshape(len(output), -1).double() for output in outputs], 1)
