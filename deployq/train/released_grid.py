"""The weight grid of SAQ's released CNN code, which has no zero.

Levels ``a (2 j - n) / n`` for j = 0..n, n = 2**bits - 1 (A.4 of the released quantizer ``LIQ``): at
2 bits ``-a, -a/3, a/3, a``. Codes with a whole zero point cannot state them at their own width, so
a network on this grid trains and evaluates, and is refused when it is saved or exported.
"""

from __future__ import annotations

from typing import Any, NoReturn

import torch
from torch import Tensor

from deployq.errors import UnsupportedError
from deployq.graph.fake_quantize import FakeQuantize
from deployq.graph.integers import linear_calls
from deployq.graph.preparation import PreparedModel
from deployq.graph.units import QuantizedLinear
from deployq.qparams import PerTensor

LINEAR_CLIP = 0.8
"""Of the largest value: where the released code starts the clip of a fully connected layer."""


class ReleasedGrid(FakeQuantize):
    """A weight quantizer whose parameter ``scale`` is the clip ``a``, one for the layer.

    Gradients, straight through the rounding: 1 for the weight inside the clip; for the clip
    ``2 r - 1 - u`` inside and the sign outside, with ``u = w / a``.
    """

    def forward(self, x: Tensor) -> Tensor:
        if not self.enabled:
            return x
        levels = (1 << self.qtype.bits) - 1
        clip = self.scale.abs()
        unit = torch.clamp(x / clip, -1.0, 1.0)
        steps = (unit + 1.0) / 2.0 * levels
        rounded = steps + (torch.round(steps) - steps).detach()
        return clip * (2.0 * rounded / levels - 1.0)

    def passes(self, x: Tensor) -> Tensor:
        return x.abs() <= self.scale.abs()

    def set_qparams(self, scale: Tensor, zero_point: Tensor) -> None:
        raise UnsupportedError(
            "weights on the released grid of SAQ",
            "the parameter of this grid is a clip",
            found="a step to write in its place",
            next_step="initialise or carry scales before use_released_grid",
        )

    def codes(self, x: Tensor) -> Tensor:
        refuse_released_grid()

    def config(self) -> dict[str, Any]:
        refuse_released_grid()


def refuse_released_grid() -> NoReturn:
    """Raise what saving and exporting say of this grid.

    Raises:
        UnsupportedError: always.
    """
    raise UnsupportedError(
        "weights on the released grid of SAQ",
        "integers with a whole zero point hold zero",
        found="levels at odd multiples of a half step, none of them zero",
        allowed="the symmetric grid of the profile, which is the default",
        next_step="train without use_released_grid",
    )


def use_released_grid(prepared: PreparedModel) -> None:
    """Put every weight of a prepared network on the released grid, in place.

    Clips start where the released code starts them: at one standard deviation in convolutions, at
    0.8 of the largest value in fully connected layers.
    """
    for call in linear_calls(prepared):
        call.unit.weight_quantizer = _grid(call.unit, call.weight.detach())


def _grid(unit: QuantizedLinear, weight: Tensor) -> ReleasedGrid:
    grid = ReleasedGrid(unit.weight_quantizer.qtype, PerTensor(), symmetric=True, calibrated=True)
    clip = LINEAR_CLIP * weight.abs().amax() if unit.op_type == "Gemm" else weight.std()
    with torch.no_grad():
        grid.scale.copy_(clip)
    return grid.to(weight.device)
