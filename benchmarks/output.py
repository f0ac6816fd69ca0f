"""Tables for people and one line of JSON for programs."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

LOG_WIDTH = 160


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A rich table on standard output; cells fold rather than vanish."""
    table = Table(title=title)
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*row)
    width = None if sys.stdout.isatty() else LOG_WIDTH
    Console(highlight=False, markup=False, width=width).print(table)


def write_json(facts: Mapping[str, object], path: Path | None) -> None:
    """Print one line of JSON; append the same line to ``path`` where there is one."""
    line = json.dumps(facts, sort_keys=True)
    print(line)
    if path is not None:
        with path.open("a") as file:
            file.write(line + "\n")
