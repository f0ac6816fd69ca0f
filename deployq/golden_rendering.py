"""A folder of golden vectors as a table."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.table import Table

from deployq.bundle import Bundle
from deployq.console import open_console

Facts = dict[str, Any]


def golden_facts(made: Bundle) -> Facts:
    """What the manifest says of the vectors, and the size of the files."""
    stated: Any = made.facts["golden"]
    return {**stated, "files": len(made.files), "bytes": sum(file.size for file in made.files)}


def print_golden(path: Path, facts: Facts) -> None:
    """A row for each layer, and how to build the program."""
    console = open_console()
    table = Table("layer", "operator", "designed", "cases reached", "not reached")
    for layer in facts["layers"]:
        rows = [row for v in layer["vectors"].values() for row in v.get("reaches", [])]
        reached = sorted({case for row in rows for case in row})
        missed = sorted(case for case in layer["missed"] if case not in reached)
        table.add_row(
            layer["name"], layer["op"], str(len(rows)), str(len(reached)), ", ".join(missed) or "-"
        )
    console.print(table)
    for name in facts["floats"]:
        console.print(f"float: {name}, no vectors")
    console.print(
        f"{path}: {len(facts['layers'])} layers, {facts['samples']} samples, "
        f"{facts['files']} files, {facts['bytes']:,} bytes, arithmetic of {facts['target']}"
    )
    console.print(f"gcc -std=c99 -O2 {path / 'c/golden.c'} -o golden && ./golden")
