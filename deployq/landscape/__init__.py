"""The loss surface around quantized models: planes through three of them, and sharpness."""

from __future__ import annotations

from deployq.landscape.curve import measure_curve
from deployq.landscape.drawing import draw_landscape
from deployq.landscape.facts import (
    Landscape,
    Mark,
    PlaneKind,
    Sharpness,
    SharpnessCurve,
    Surface,
)
from deployq.landscape.measuring import measure_landscape
from deployq.landscape.sharpness import measure_sharpness
from deployq.landscape.sharpness_drawing import draw_sharpness

__all__ = [
    "Landscape",
    "Mark",
    "PlaneKind",
    "Sharpness",
    "SharpnessCurve",
    "Surface",
    "draw_landscape",
    "draw_sharpness",
    "measure_curve",
    "measure_landscape",
    "measure_sharpness",
]
