"""Quantization-aware training on the grid that the target runs."""

from __future__ import annotations

from deployq.train.between import Between
from deployq.train.sam import SAM
from deployq.train.saq import SAQ, Units
from deployq.train.scales import learn_scales
from deployq.train.two_passes import SharpStep

__all__ = ["SAM", "SAQ", "Between", "SharpStep", "Units", "learn_scales"]
