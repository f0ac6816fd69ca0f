"""The sensitivity of a network as a table for people; the same facts go out as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.table import Table

from deployq.console import open_console
from deployq.sensitivity import SENSITIVITY

SHOWN = 10
"""Rows that a person gets; ``--json`` and the manifest have all."""


def print_sensitivity(facts: Mapping[str, Any]) -> None:
    """The worst rows, how many follow, and the next steps.

    Args:
        facts: a manifest's.
    """
    console = open_console()
    found = facts[SENSITIVITY]
    rows = found["ranking"]
    table = Table(
        title=f"cost of each quantizer alone, on {found['samples']} calibration samples",
        title_justify="left",
    )
    for column in ("tensor", "what"):
        table.add_column(column, no_wrap=True)
    for column in ("bits", "SQNR of the output (dB)", "top-1 (points)"):
        table.add_column(column, justify="right")
    for row in rows[:SHOWN]:
        table.add_row(row["name"], row["kind"], str(row["bits"]), _decibels(row), _points(row))
    console.print(table)
    if len(rows) > SHOWN:
        console.print(f"{len(rows) - SHOWN} more cost less: --json, or manifest.json")
    for line in found["next"]:
        console.print(f"next: export the float model again with {line}")


def _decibels(row: dict[str, Any]) -> str:
    if row["sqnr_db"] is None:
        return "equal" if row["equal"] else "output is 0 in float"
    return f"{row['sqnr_db']:.2f}"


def _points(row: dict[str, Any]) -> str:
    change = row["top1_change"]
    return "" if change is None else f"{100 * change:+.1f}"
