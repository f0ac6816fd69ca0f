"""The loss on the way out of a quantized model, from it to the radius of its sharpness."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from deployq.data import Dataset
from deployq.errors import InputError
from deployq.graph.preparation import PreparedModel
from deployq.landscape.batches import Loss, class_loss
from deployq.landscape.facts import SharpnessCurve
from deployq.landscape.measuring import SAMPLES
from deployq.landscape.surroundings import DIRECTIONS, RADIUS, Surroundings, check_moves
from deployq.train.saq import Units

POINTS = 9
"""Radii of a curve, 0 among them."""


def measure_curve(
    prepared: PreparedModel,
    data: Dataset,
    *,
    radius: float = RADIUS,
    points: int = POINTS,
    units: Units = Units.DEVIATION,
    directions: int = DIRECTIONS,
    samples: int | None = SAMPLES,
    loss: Loss = class_loss,
    seed: int = 0,
    progress: Callable[[str], None] = lambda stage: None,
) -> SharpnessCurve:
    """Rises of the loss at radii from 0 to ``radius``, as far apart as each other.

    The directions, and so the rises at ``radius`` itself, are those of
    :func:`~deployq.landscape.sharpness.measure_sharpness` with the same seed.

    Args:
        points: radii, 0 among them, at least 2.
        prepared, data, radius, units, directions, samples, loss, seed, progress: as
            ``measure_sharpness`` takes them.

    Raises:
        InputError: what that raises, or fewer points.
    """
    check_moves(radius, directions)
    _check_points(points)
    around = Surroundings.of(prepared, data, samples, loss, units)
    radii = [float(length) for length in np.linspace(0.0, radius, points)]

    def rises(direction: Tensor, stage: str) -> tuple[float, ...]:
        found = [0.0]
        for length in radii[1:]:
            progress(stage)
            found.append(around.rise(direction, length))
        return tuple(found)

    generator = torch.Generator().manual_seed(seed)
    around.random(generator)  # where the power iteration of the same seed starts
    adversarial = rises(around.weights.slope(), "curve along the gradient")
    random = [
        rises(around.random(generator), "curves along random directions") for _ in range(directions)
    ]
    return SharpnessCurve(
        around.samples, around.base, tuple(radii), str(Units(units)), adversarial, tuple(random)
    )


def _check_points(points: int) -> None:
    if points < 2:
        raise InputError(
            "points",
            "a curve runs from the model to the radius",
            found=str(points),
            allowed=">= 2",
            next_step=f"{POINTS} show its shape",
        )
