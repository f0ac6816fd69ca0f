"""Near misses: which known name did the user mean?"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


def likely(name: str, known: Iterable[str]) -> str:
    """The known names that begin with ``name``, else the one most like it, as one text."""
    names = sorted(set(known))
    return ", ".join(found for found in names if found.startswith(name)) or nearest(name, names)


def nearest(name: str, known: Iterable[str], cutoff: float = 0.0) -> str:
    """The known name most like ``name``, or "" where none reaches ``cutoff`` (0 to 1)."""
    matches = get_close_matches(name, sorted(set(known)), 1, cutoff)
    return matches[0] if matches else ""
