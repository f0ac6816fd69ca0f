"""The largest eigenvalue of a symmetric matrix that is known by its products alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

CLOSE = 1e-2
"""Part of the estimate within which an eigenvalue lies where the iteration ends (residual)."""


@dataclass(frozen=True)
class Eigenvalue:
    """What power iteration found.

    Args:
        value: Rayleigh quotient of the last vector.
        settled: ``|A v - value v|``, ``v`` of length 1, is a :data:`CLOSE` part of it at most.
    """

    value: float
    settled: bool


def largest_eigenvalue(
    product: Callable[[Tensor], Tensor], start: Tensor, *, steps: int = 50
) -> Eigenvalue:
    """The largest eigenvalue, not the largest in absolute value.

    Power iteration finds the latter; where that is negative, the matrix is shifted by it and the
    iteration starts again. It then ends by the same part of the distance between both ends of the
    spectrum.

    Args:
        product: the matrix times a vector (P,).
        start: (P,), not zero; orthogonal to the wanted eigenvector only by chance.
        steps: most products of each iteration.
    """
    found = _power(product, start, steps)
    if found.value >= 0:
        return found
    lowest = found.value
    shifted = _power(lambda vector: product(vector) - lowest * vector, start, steps)
    return Eigenvalue(shifted.value + lowest, found.settled and shifted.settled)


def _power(product: Callable[[Tensor], Tensor], start: Tensor, steps: int) -> Eigenvalue:
    vector, value = start / start.norm(), float("nan")
    for _ in range(steps):
        image = product(vector)
        value = float(vector.double() @ image.double())
        if float((image - value * vector).norm()) <= CLOSE * abs(value):
            return Eigenvalue(value, settled=True)
        vector = image / image.norm()
    return Eigenvalue(value, settled=False)
