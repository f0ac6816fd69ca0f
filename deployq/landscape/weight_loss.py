"""The loss of a model as a function of the quantized weights of its layers, all else held still.

Evaluation mode: running statistics stay, Dropout rests. The unit of a layer is the standard
deviation of its ``Q(w)``, or one; coordinates and lengths are in these units, as in
``deployq.train.ball``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from deployq.errors import UnsupportedError
from deployq.graph.modes import evaluation_mode
from deployq.graph.preparation import PreparedModel
from deployq.landscape.batches import Batch, Loss, mean_loss
from deployq.landscape.given_weights import given_weights, quantized_weights
from deployq.train.ball import deviation


class WeightLoss:
    """Mean loss over batches at ``Q(w) + move``.

    Gradients and Hessians are those of the network whose activation quantizers are replaced by
    their straight-through lines, ``q(x0) + m (x - x0)`` around each activation ``x0`` with ``m`` 1
    inside the code range and 0 outside: the forward values are those of the quantized network, and
    a quantizer adds no curvature of its own. The Hessian of that network is exact and symmetric,
    by two backward passes.

    Args:
        prepared: calibrated or trained; it stays as it is.
        batches: at least one.
        loss: of output and labels.
        by_deviation: units are standard deviations, else one.

    Raises:
        InputError: no linear layer on a grid, or one that is not calibrated.
    """

    def __init__(
        self, prepared: PreparedModel, batches: Sequence[Batch], loss: Loss, *, by_deviation: bool
    ) -> None:
        self._prepared, self._batches, self._loss = prepared, batches, loss
        self._weights = quantized_weights(prepared)
        self._sizes = [weight.numel() for weight in self._weights.values()]
        self._samples = sum(map(len, batches))
        self._units = torch.cat(
            [(deviation(w) if by_deviation else w.new_ones(())).expand(w.numel())
             for w in self._weights.values()]
        )  # fmt: skip

    @property
    def size(self) -> int:
        """How many coordinates a move has."""
        return sum(self._sizes)

    @property
    def device(self) -> torch.device:
        """Where moves are."""
        return self._units.device

    def at(self, move: Tensor | None = None) -> float:
        """The loss, at a move of (P,) float32, or at the model itself."""
        weights = self._weights if move is None else self._moved(move)
        with given_weights(self._prepared, weights), self._evaluating():
            return mean_loss(self._prepared.module, self._batches, self._loss)

    def slope(self) -> Tensor:
        """(P,) gradient."""
        total = torch.zeros_like(self._units)
        with self._leaves() as leaves:
            for batch in self._batches:
                total += _flat(
                    torch.autograd.grad(self._part(batch), leaves, materialize_grads=True)
                )
        return total * self._units

    def curvature(self, along: Tensor) -> Tensor:
        """(P,) the Hessian times a vector (P,).

        Raises:
            UnsupportedError: an operator of the network has no second derivative in torch.
        """
        total, vector = torch.zeros_like(self._units), along * self._units
        with self._leaves() as leaves:
            for batch in self._batches:
                grads = torch.autograd.grad(
                    self._part(batch), leaves, create_graph=True, materialize_grads=True
                )
                total += _second(_flat(grads) @ vector, leaves)
        return total * self._units

    def _part(self, batch: Batch) -> Tensor:
        """What a batch adds to the mean."""
        mean = self._loss(self._prepared.module(*batch.inputs), batch.labels)
        return mean * (len(batch) / self._samples)

    @contextmanager
    def _leaves(self) -> Iterator[list[Tensor]]:
        """Weights that gradients are taken of, in force for the block."""
        leaves = {name: w.clone().requires_grad_() for name, w in self._weights.items()}
        with given_weights(self._prepared, leaves), self._evaluating(), torch.enable_grad():
            yield list(leaves.values())

    @contextmanager
    def _evaluating(self) -> Iterator[None]:
        # the fused attention kernels have no second derivative
        with evaluation_mode(self._prepared.module), sdpa_kernel(SDPBackend.MATH):
            yield

    def _moved(self, move: Tensor) -> dict[str, Tensor]:
        parts = torch.split(move * self._units, self._sizes)
        named = zip(self._weights.items(), parts, strict=True)
        return {name: weight + part.view_as(weight) for (name, weight), part in named}


def _flat(tensors: Sequence[Tensor]) -> Tensor:
    return torch.cat([tensor.flatten() for tensor in tensors])


def _second(product: Tensor, leaves: Sequence[Tensor]) -> Tensor:
    """Gradient of a product of gradients; zero where these are constant."""
    if not product.requires_grad:
        return torch.zeros((), device=product.device)
    try:
        return _flat(torch.autograd.grad(product, leaves, materialize_grads=True))
    except RuntimeError as error:
        raise UnsupportedError(
            "the Hessian",
            "every operator of the network has a second derivative",
            found=str(error).splitlines()[0][:200],
            next_step="measure_sharpness(steps=0) leaves the eigenvalue out",
        ) from error
