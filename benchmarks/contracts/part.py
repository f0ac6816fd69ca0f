"""What every part of the benchmark gives: a table for people, facts for the line of JSON."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Facts = dict[str, Any]


@dataclass(frozen=True)
class Table:
    """One table.

    Args:
        title, columns, rows: as printed.
        facts: the same as data.
        misses: what should have been equal and is not, one line each.
    """

    title: str
    columns: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    facts: list[Facts]
    misses: list[str] = field(default_factory=list)


Part = Callable[[Path], Table]
"""Makes its table with a folder of built files."""
