"""Random weights that let a transformer do something that integers can be seen to carry."""

from __future__ import annotations

import math

from torch import nn

GAIN = 2.0
"""Standard deviation of what a layer makes of inputs that have 1."""


def draw_wider(model: nn.Module, gain: float = GAIN) -> None:
    """Draw tables and layers anew, wider than they begin.

    Heads then attend to some positions more than to others: uniform shares take few codes, as do
    those that are 0 and 1. Factors and temperatures are left as they are.
    """
    for parameter in model.parameters():
        fan_in = parameter[0].numel() if parameter.ndim > 1 else 1
        if fan_in > 1:
            nn.init.normal_(parameter, std=gain / math.sqrt(fan_in))
