"""Sharpness-aware minimization as it is, the baseline of SAQ.

Foret et al. 2021, arXiv 2010.01412, algorithm 1: every parameter that learns is perturbed, latent
weights and learned scales among them.
"""

from __future__ import annotations

import torch
from torch import nn

from deployq.train.ball import Kind, MovedParameter
from deployq.train.between import Between
from deployq.train.two_passes import TwoPasses


class SAM(TwoPasses):
    """Sharpness-aware steps on any torch module, prepared or not, around any optimizer.

    Args:
        module: its parameters that learn are the ball, in lengths as they are.
        optimizer: of its parameters.
        radius: length of the perturbation; 0.05 is the paper's for CIFAR.
        every, between, look_rate, freeze_norms, synchronized: as :class:`TwoPasses` takes them.

    Raises:
        InputError: a radius that is not positive, or no parameter that learns.
    """

    def __init__(
        self,
        module: nn.Module,
        optimizer: torch.optim.Optimizer,
        *,
        radius: float,
        every: int = 1,
        between: Between | str = Between.PLAIN,
        look_rate: float = 0.7,
        freeze_norms: bool = True,
        synchronized: bool = False,
    ) -> None:
        learned = [(n, p) for n, p in module.named_parameters() if p.requires_grad]
        super().__init__(
            module, optimizer, [MovedParameter(n, p, Kind.WEIGHTS) for n, p in learned],
            radius=radius, every=every, between=between, look_rate=look_rate,
            freeze_norms=freeze_norms, synchronized=synchronized,
        )  # fmt: skip
