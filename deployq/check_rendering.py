"""The findings of a check as tables, and rules as text."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.table import Table

from deployq.console import open_console
from deployq.errors import InputError
from deployq_targets import TargetProfile
from deployq_targets.checks import RULES, Finding, Rule, Severity
from deployq_targets.evidence import field_paths

Facts = dict[str, Any]

SHOWN = 5
"""Findings of one rule that a table has; JSON has all."""


def check_facts(source: Path, profile: TargetProfile, findings: Sequence[Finding]) -> Facts:
    """Everything that a report says."""
    counts = {s: sum(f.severity is s for f in findings) for s in Severity}
    return {
        "file": source.name,
        "target": profile.name,
        "rules": len(RULES),
        "errors": counts[Severity.ERROR],
        "warnings": counts[Severity.WARNING],
        "notes": counts[Severity.NOTE],
        "findings": [finding.as_dict() for finding in findings],
    }


def print_findings(facts: Facts) -> None:
    """A table for each rule that is broken, and :func:`print_totals`."""
    console = open_console()
    by_rule: dict[str, list[Facts]] = {}
    for finding in facts["findings"]:
        by_rule.setdefault(finding["rule"], []).append(finding)
    for rule, found in by_rule.items():
        console.print(f"{found[0]['severity']} {rule}: {found[0]['text']}")
        table = Table("node", "tensor", "found", "allowed", "change")
        for finding in found[:SHOWN]:
            table.add_row(
                *(finding[key] for key in ("node", "tensor", "found", "allowed", "change"))
            )
        console.print(table)
        if len(found) > SHOWN:
            console.print(f"and {len(found) - SHOWN} more; --json has all")
    print_totals(facts)


def print_totals(facts: Facts) -> None:
    """A line with the counts."""
    open_console().print(
        f"{facts['file']} on {facts['target']}: {facts['errors']} errors, "
        f"{facts['warnings']} warnings, {facts['notes']} notes by {facts['rules']} rules"
    )


def explained(name: str, profile: TargetProfile | None) -> str:
    """A rule, why hardware has it, an example; with a profile also its values and their sources.

    Raises:
        InputError: no such rule.
    """
    rule = next((rule for rule in RULES if rule.id == name), None)
    if rule is None:
        raise InputError(
            f"rule {name}",
            "a rule is explained by its id",
            found=name,
            allowed=", ".join(rule.id for rule in RULES),
        )
    lines = [
        f"{rule.id} ({rule.severity})",
        rule.text(profile) if profile else rule.template,
        f"why: {rule.why}",
        f"example: {rule.example}",
        f"keys: {', '.join(rule.keys) or 'none'}",
    ]
    return "\n".join([*lines, *_sources(rule, profile)])


def _sources(rule: Rule, profile: TargetProfile | None) -> list[str]:
    if profile is None:
        return ["with --target the rule has the numbers of a profile, and where they are from"]
    stated = set(field_paths(profile.model_dump(mode="json")))
    tags = [f"{k} [{profile.evidence_of(k).value}]" for k in rule.keys if "." in k and k in stated]
    evidence = [f"evidence: {', '.join(tags)}"] if tags else []
    return [*evidence, f"sources of {profile.name}: {'; '.join(profile.sources) or 'none'}"]
