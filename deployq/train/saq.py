"""Sharpness-aware quantization: a flat minimum of the quantized loss.

Liu, Cai and Zhuang, arXiv 2111.12273: quantization adds ``Q(w) - w`` to the weights, SAM an
adversarial ``eps``; the three cases differ in which is computed from which. Case 3,
``L(Q(w) + eps)`` with the gradient taken at the quantized weights, is the released method.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum

import torch

from deployq.errors import InputError, choose_word
from deployq.graph.finished import check_calibrated
from deployq.graph.integers import linear_calls
from deployq.graph.preparation import PreparedModel
from deployq.train.ball import Kind, Member
from deployq.train.between import Between
from deployq.train.members import latent_weights, other_members, quantized_weights
from deployq.train.two_passes import TwoPasses

CASES = (1, 2, 3)


class Units(StrEnum):
    """What a radius counts.

    ``deviation``: standard deviations of each layer's weight, so that a radius means the same for
    every layer scale. The released settings (0.4 on CIFAR-100, say) are lengths on weights of unit
    variance, which is this unit for convolutions (fully connected layers are not normalized
    there); biases and normalizations count as they are, in both.
    ``absolute``: lengths on the weights as they stand; 0.4 there is 0.069 here for a ResNet-20.
    """

    DEVIATION = "deviation"
    ABSOLUTE = "absolute"


class SAQ(TwoPasses):
    """Sharpness-aware steps on a prepared network, around any optimizer.

    Args:
        prepared: calibrated; on its device, its scales learning or not.
        optimizer: of its parameters.
        radius: length of the perturbation over the whole ball, in ``units``.
        case: 3, ``Q(w) + eps`` along the gradient at ``Q(w)``; 1, the same along the gradient of
            the latent weights, zero where clipped; 2, ``Q(w + eps)``, where what stays below the
            next rounding boundary vanishes.
        units: of the radius.
        biases, norms, scales: whether these are in the ball (released code: yes, yes, no for
            weights' clips).
        every, between, look_rate: a full step every so many, and what is done between them; ways
            of our own, see :class:`Between`.
        freeze_norms: BatchNorm statistics learn once a step, from the unperturbed pass; the
            released code lets both passes count.
        synchronized: average the climbing gradients over ranks; the released code does not.

    Raises:
        InputError: a radius that is not positive, a case that is none, a network without quantized
            weights or not calibrated.
    """

    def __init__(
        self,
        prepared: PreparedModel,
        optimizer: torch.optim.Optimizer,
        *,
        radius: float,
        case: int = 3,
        units: Units | str = Units.DEVIATION,
        biases: bool = True,
        norms: bool = True,
        scales: bool = False,
        every: int = 1,
        between: Between | str = Between.PLAIN,
        look_rate: float = 0.7,
        freeze_norms: bool = True,
        synchronized: bool = False,
    ) -> None:
        chosen = {Kind.BIASES: biases, Kind.NORMS: norms, Kind.SCALES: scales}
        kinds = [kind for kind, inside in chosen.items() if inside]
        members = [*_weights(prepared, case, units), *other_members(prepared, kinds)]
        super().__init__(
            prepared.module, optimizer, members, radius=radius, every=every, between=between,
            look_rate=look_rate, freeze_norms=freeze_norms, synchronized=synchronized,
        )  # fmt: skip


def _weights(prepared: PreparedModel, case: int, units: Units | str) -> Sequence[Member]:
    _check(prepared, case)
    unit = choose_word(
        Units,
        units,
        where="units",
        rule="a radius has a unit",
        next_step="deviation is the default",
    )
    by_deviation = unit is Units.DEVIATION
    if case == 2:
        return [*latent_weights(prepared, by_deviation=by_deviation)]
    return [*quantized_weights(prepared, masked=case == 1, by_deviation=by_deviation)]


def _check(prepared: PreparedModel, case: int) -> None:
    if case not in CASES:
        raise InputError(
            "case",
            "sharpness-aware quantization has three cases",
            found=str(case),
            allowed="1, 2, 3",
            next_step="3 is the released method",
        )
    calls = list(linear_calls(prepared))
    if not calls:
        raise InputError(
            "the prepared model",
            "sharpness-aware quantization perturbs quantized weights",
            found="no linear layer on a grid",
            next_step="keep fewer layers in float, or train without it",
        )
    for call in calls:
        check_calibrated(f"{call.name}.weight", call.unit.weight_quantizer)
