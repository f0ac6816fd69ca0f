"""What a benchmark of codes gives: a table for people, facts for the line of JSON."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.output import print_table, write_json

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


def show(table: Table, benchmark: str, json_out: Path | None, **settings: object) -> int:
    """Print table, misses and line of JSON; the exit code.

    Args:
        benchmark: name in the line of JSON.
        json_out: a file that gets the line as well.
        settings: what else the line says.
    """
    print_table(table.title, table.columns, table.rows)
    for miss in table.misses:
        print(f"MISSED {miss}")
    facts = {"benchmark": benchmark, **settings, "rows": table.facts, "misses": table.misses}
    write_json(facts, json_out)
    return int(bool(table.misses))
