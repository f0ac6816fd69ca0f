"""Findings as SARIF 2.1.0 (OASIS, Static Analysis Results Interchange Format, with errata 01)."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeAlias
from urllib.parse import quote

from deployq import __version__
from deployq.check_formats.artifact import artifact_path
from deployq_targets import TargetProfile
from deployq_targets.checks import RULES, Finding, Rule

Object: TypeAlias = dict[str, Any]

SCHEMA = (
    "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
)
INDEX = {rule.id: index for index, rule in enumerate(RULES)}


def sarif_log(source: Path, profile: TargetProfile, findings: Sequence[Finding]) -> Object:
    """One run: every rule with its text in the profile's numbers, a result for each finding.

    Args:
        source: as the user gave it; see :func:`artifact_path`.
    """
    uri = quote(os.fsencode(artifact_path(source)))
    driver = {
        "name": "deployq",
        "semanticVersion": __version__,
        "rules": [_rule(rule, profile) for rule in RULES],
    }
    run = {
        "tool": {"driver": driver},
        "invocations": [{"executionSuccessful": True}],
        "artifacts": [{"location": {"uri": uri}}],
        "results": [_result(finding, uri) for finding in findings],
        "properties": {"target": profile.name},
    }
    return {"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}


def _rule(rule: Rule, profile: TargetProfile) -> Object:
    return {
        "id": rule.id,
        "shortDescription": _message(rule.text(profile)),
        "fullDescription": _message(f"{rule.text(profile)} {rule.why}"),
        "help": _message(f"Why: {rule.why} Example: {rule.example}"),
        "defaultConfiguration": {"level": rule.severity.value},
        "properties": {"keys": list(rule.keys)},
    }


def _result(finding: Finding, uri: str) -> Object:
    location: Object = {"physicalLocation": {"artifactLocation": {"uri": uri, "index": 0}}}
    named = (("node", finding.node), ("tensor", finding.tensor))
    logical = [{"fullyQualifiedName": name, "kind": kind} for kind, name in named if name]
    if logical:
        location["logicalLocations"] = logical
    text = f"{finding.text} Found: {finding.found}. Allowed: {finding.allowed}. "
    return {
        "ruleId": finding.rule,
        "ruleIndex": INDEX[finding.rule],
        "level": finding.severity.value,
        "message": _message(f"{text}Change: {finding.change}."),
        "locations": [location],
        "properties": {
            "found": finding.found,
            "allowed": finding.allowed,
            "change": finding.change,
        },
    }


def _message(text: str) -> Object:
    """A message; single braces would be placeholders (SARIF 2.1.0, section 3.11.5)."""
    return {"text": text.replace("{", "{{").replace("}", "}}")}
