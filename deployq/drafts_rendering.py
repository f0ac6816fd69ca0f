"""A drafted profile for people and programs: what is stated and by what, and what is left open."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.table import Table

from deployq.console import open_console
from deployq_targets.inference import Draft
from deployq_targets.inference.fact import Facts

Parts = dict[str, Any]


def draft_facts(draft: Draft, path: Path | None) -> Parts:
    """Every value with what shows it, and every question."""
    return {
        "name": draft.profile.name,
        "file": None if path is None else str(path),
        "sources": list(draft.profile.sources),
        "values": {key: fact._asdict() for key, fact in draft.facts.items()},
        "operators": [_entry(entry) for entry in draft.operators],
        "questions": [question._asdict() for question in draft.questions],
    }


def _entry(entry: Facts) -> Parts:
    return {key: fact._asdict() for key, fact in entry.items()}


def print_draft(draft: Draft, path: Path) -> None:
    """Counts, and the questions as a table."""
    console = open_console()
    stated = len(draft.facts) + sum(map(len, draft.operators))
    console.print(f"{path}: {draft.profile.name}, {stated} values that the files show")
    console.print("no file shows these; ask whoever knows the target, and correct the profile:")
    table = Table()
    for column in ("key", "placeholder", "question"):
        table.add_column(column, overflow="fold")
    for key, text, placeholder in draft.questions:
        table.add_row(key, "-" if placeholder is None else str(placeholder), text)
    console.print(table)
