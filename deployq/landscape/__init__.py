"""The loss surface around quantized models: planes through three of them, and sharpness."""

from __future__ import annotations

from deployq.landscape.drawing import draw_landscape
from deployq.landscape.facts import Landscape, Mark, PlaneKind, Sharpness, Surface
from deployq.landscape.measuring import measure_landscape
from deployq.landscape.sharpness import measure_sharpness

__all__ = [
    "Landscape",
    "Mark",
    "PlaneKind",
    "Sharpness",
    "Surface",
    "draw_landscape",
    "measure_landscape",
    "measure_sharpness",
]
