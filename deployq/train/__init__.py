"""Quantization-aware training on the grid that the target runs."""

from __future__ import annotations

from deployq.train.scales import learn_scales

__all__ = ["learn_scales"]
