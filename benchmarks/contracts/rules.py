"""The table of rules that ``deployq check`` holds a file to."""

from __future__ import annotations

from pathlib import Path

from benchmarks.part import Table
from deployq_targets.checks import RULES


def rules(work: Path) -> Table:
    """A row for each rule."""
    facts = [
        {"rule": rule.id, "severity": rule.severity.value, "says": rule.template, "keys": rule.keys}
        for rule in RULES
    ]
    rows = [(rule.id, rule.severity.value, rule.template) for rule in RULES]
    return Table("rules of deployq check", ("rule", "severity", "it says"), rows, facts)
