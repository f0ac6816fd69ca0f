"""How sharp the minimum is that a quantized model is in."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from deployq.data import Dataset
from deployq.graph.preparation import PreparedModel
from deployq.landscape.batches import Loss, class_loss
from deployq.landscape.eigenvalue import largest_eigenvalue
from deployq.landscape.facts import Sharpness
from deployq.landscape.measuring import SAMPLES
from deployq.landscape.surroundings import DIRECTIONS, RADIUS, Surroundings, check_moves
from deployq.train.saq import Units

STEPS = 50
"""Most products of a power iteration."""


def measure_sharpness(
    prepared: PreparedModel,
    data: Dataset,
    *,
    radius: float = RADIUS,
    units: Units = Units.DEVIATION,
    directions: int = DIRECTIONS,
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
    check_moves(radius, directions)
    around = Surroundings.of(prepared, data, samples, loss, units)
    generator = torch.Generator().manual_seed(seed)

    def product(vector: Tensor) -> Tensor:
        progress("curvature")
        return around.weights.curvature(vector)

    start = around.random(generator)
    found = largest_eigenvalue(product, start, steps=steps) if steps else None
    progress("adversarial direction")
    adversarial = around.rise(around.weights.slope(), radius)
    rises = []
    for _ in range(directions):
        progress("random directions")
        rises.append(around.rise(around.random(generator), radius))
    return Sharpness(
        samples=around.samples,
        loss=around.base,
        eigenvalue=None if found is None else found.value,
        settled=found is not None and found.settled,
        radius=radius,
        units=str(Units(units)),
        adversarial=adversarial,
        directions=directions,
        random_mean=sum(rises) / directions,
        random_worst=max(rises),
    )
