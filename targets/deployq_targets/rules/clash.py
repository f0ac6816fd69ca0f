"""Clash: one place where two parts of a profile do not fit together."""

from __future__ import annotations

from typing import NamedTuple


class Clash(NamedTuple):
    """The dotted key at fault, what it says, what would fit, and what to do."""

    key: str
    found: str
    allowed: str
    next_step: str = ""
