"""Random weights that let a transformer do something that integers can be seen to carry."""

from __future__ import annotations

import math

from torch import nn

GAIN = 2.0
"""Standard deviation of what a layer makes of inputs that have 1."""


def draw_wider(model: nn.Module) -> None:
    """Draw tables and layers anew, wider than they begin.

    Heads then attend to some positions more than to others: uniform shares take few codes. A factor
    for each channel is left as it is.
    """
    for parameter in model.parameters():
        if parameter.ndim > 1:
            fan_in = parameter[0].numel()
            nn.init.normal_(parameter, std=GAIN / math.sqrt(fan_in))
