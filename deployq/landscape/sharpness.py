"""How sharp the minimum is that a quantized model is in."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from deployq.data import Dataset
from deployq.errors import InputError
from deployq.graph.preparation import PreparedModel
from deployq.landscape.batches import Loss, class_loss, labelled_batches
from deployq.landscape.eigenvalue import largest_eigenvalue
from deployq.landscape.facts import Sharpness
from deployq.landscape.measuring import DATA, SAMPLES
from deployq.landscape.weight_loss import WeightLoss
from deployq.train.ball import TINY
from deployq.train.saq import Units
from deployq.train.two_passes import check_radius

RADIUS = 0.3
"""Of the default moves, in standard deviations of each layer's weight."""

STEPS = 50
"""Most products of a power iteration."""


def measure_sharpness(
    prepared: PreparedModel,
    data: Dataset,
    *,
    radius: float = RADIUS,
    units: Units = Units.DEVIATION,
    directions: int = 10,
    samples: int | None = SAMPLES,
    steps: int = STEPS,
    loss: Loss = class_loss,
    seed: int = 0,
    progress: Callable[[str], None] = lambda stage: None,
) -> Sharpness:
    """Curvature and rise of the loss around a model, over its quantized weights ``Q(w)``.

    All in evaluation mode, with the running statistics of the model: biases, gains, scales and
    statistics stay. Three measures: the largest eigenvalue of the Hessian
    (:class:`~deployq.landscape.weight_loss.WeightLoss` says of what, where activations are
    quantized), the rise of the loss at ``radius`` along its gradient, which is the move of SAQ's
    case 3 over the weights, and along random directions of the same length.

    Args:
        prepared: calibrated or trained; it stays as it is.
        data: with labels.
        radius: length of the moves over all layers together.
        units: of the radius and the eigenvalue; a standard deviation is that of ``Q(w)``.
        directions: how many random ones, at least 1.
        samples: so many, the first; None takes all.
        steps: most products of a power iteration; 0 leaves the eigenvalue out.
        loss: of output and labels, a mean over samples.
        seed: of the random directions and the start of the power iteration.
        progress: told of each evaluation.

    Raises:
        InputError: a radius that is not positive, no direction, nothing quantized, a quantizer that
            is not calibrated, data that does not fit or has no labels, or a loss that is not
            finite.
        UnsupportedError: an operator of the network has no second derivative in torch.
    """
    check_radius(radius)
    _check_directions(directions)
    batches = labelled_batches(DATA, prepared, data, samples)
    around = WeightLoss(prepared, batches, loss, by_deviation=Units(units) is Units.DEVIATION)
    base = around.at()
    if not math.isfinite(base):
        raise InputError(
            "the loss",
            "sharpness is measured around a finite loss",
            found=str(base),
            next_step="train or load the model again",
        )
    generator = torch.Generator().manual_seed(seed)

    def product(vector: Tensor) -> Tensor:
        progress("curvature")
        return around.curvature(vector)

    start = _random(around, generator)
    found = largest_eigenvalue(product, start, steps=steps) if steps else None
    progress("adversarial direction")
    adversarial = around.at(_of_length(around.slope(), radius)) - base
    rises = list(_rises(around, base, radius, directions, generator, progress))
    return Sharpness(
        samples=sum(map(len, batches)),
        loss=base,
        eigenvalue=None if found is None else found.value,
        settled=found is not None and found.settled,
        radius=radius,
        units=str(Units(units)),
        adversarial=adversarial,
        directions=directions,
        random_mean=sum(rises) / directions,
        random_worst=max(rises),
    )


def _rises(
    around: WeightLoss, base: float, radius: float, count: int, generator: torch.Generator,
    progress: Callable[[str], None],
) -> Iterator[float]:  # fmt: skip
    for _ in range(count):
        progress("random directions")
        yield around.at(_of_length(_random(around, generator), radius)) - base


def _random(around: WeightLoss, generator: torch.Generator) -> Tensor:
    """(P,) of a normal distribution; the same on every device."""
    return torch.randn(around.size, generator=generator).to(around.device)


def _of_length(direction: Tensor, radius: float) -> Tensor:
    rate: Tensor = radius / (direction.norm() + TINY)
    return direction * rate


def _check_directions(directions: int) -> None:
    if directions < 1:
        raise InputError(
            "directions",
            "random directions are at least one",
            found=str(directions),
            allowed=">= 1",
            next_step="10 give a mean and a worst case",
        )
