"""The first divergence of two ways to compute one network, and its cause."""

from __future__ import annotations

from deployq.divergence.comparing import diff
from deployq.divergence.facts import Divergence

__all__ = ["Divergence", "diff"]
