"""From files that a target takes to a profile of it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from deployq.errors import InputError, UnsupportedError
from deployq_targets.checks import Severity, check_model
from deployq_targets.evidence import DEFAULT
from deployq_targets.inference.activations import activation_facts
from deployq_targets.inference.biases import bias_facts
from deployq_targets.inference.container import container_facts
from deployq_targets.inference.fact import Draft, Fact, Facts, NamedFile
from deployq_targets.inference.graphs import graph_facts
from deployq_targets.inference.operators import operator_facts
from deployq_targets.inference.unknowns import questions
from deployq_targets.inference.weights import weight_facts
from deployq_targets.loader import parse_profile
from deployq_targets.profile import SCHEMA_VERSION, TargetProfile
from deployq_targets.words import Evidence, OpStatus


def draft_profile(files: Sequence[NamedFile], name: str) -> Draft:
    """The narrowest profile that takes every one of the files, and what they leave open.

    Args:
        files: that the target is known to take.
        name: of the profile; what the schema does not allow in a name becomes ``-``.

    Raises:
        InputError: no files, or one without integer tensors.
        UnsupportedError: the files show what one profile cannot state.
    """
    _check_integers(files)
    facts = {
        **container_facts(files),
        **activation_facts(files),
        **weight_facts(files),
        **bias_facts(files),
        **graph_facts(files),
    }
    operators, asked = operator_facts(files), tuple(questions(facts))
    placeholders = {q.key: q.placeholder for q in asked if q.placeholder is not None}
    values = {key: fact.value for key, fact in facts.items()} | placeholders
    head = _head(files, name, facts, operators)
    table = {**head, **_nested(values), "op": [_values(entry) for entry in operators]}
    profile = parse_profile(table, head["name"])
    _check_taken(files, profile)
    return Draft(profile, head, facts, operators, asked)


def _check_integers(files: Sequence[NamedFile]) -> None:
    if not files:
        raise InputError("files", "a profile is drafted from files", found="none")
    for named in files:
        if not named.file.activations:
            raise InputError(
                named.name,
                "a file that shows an integer target has integer tensors",
                found="no integer tensors",
                allowed="a QDQ or QOperator file",
                next_step="draft from the quantized file that the target takes",
            )


def _head(
    files: Sequence[NamedFile], name: str, facts: Facts, operators: Sequence[Facts]
) -> dict[str, Any]:
    count = "a file" if len(files) == 1 else f"{len(files)} files"
    tags = {DEFAULT: Evidence.UNCONFIRMED.value}
    tags |= {".".join(key.split(".")[:2]): Evidence.EXECUTED.value for key in facts}
    tags["op"] = Evidence.EXECUTED.value
    for entry in operators:
        if "status" in entry and entry["status"].value == OpStatus.FLOAT:
            tags[f"op.{entry['type'].value}.status"] = Evidence.UNCONFIRMED.value
    return {
        "schema": SCHEMA_VERSION,
        "name": re.sub(r"[^a-z0-9._-]", "-", name.lower()).lstrip("._-") or "drafted",
        "summary": f"Drafted from {count} that the target takes: its limits are those of the files",
        "sources": [named.source for named in files],
        "evidence": tags,
    }


def _nested(values: Mapping[str, Any]) -> dict[str, Any]:
    """Dotted keys as tables in tables."""
    table: dict[str, Any] = {}
    for path, value in values.items():
        *sections, key = path.split(".")
        section = table
        for part in sections:
            section = section.setdefault(part, {})
        section[key] = value
    return table


def _values(entry: Mapping[str, Fact]) -> dict[str, Any]:
    return {key: fact.value for key, fact in entry.items()}


def _check_taken(files: Sequence[NamedFile], profile: TargetProfile) -> None:
    """The law of a draft: every file of it obeys it."""
    for named in files:
        for finding in check_model(named.file.model, profile):
            if finding.severity is Severity.ERROR:
                raise UnsupportedError(
                    named.at(finding.node or finding.tensor),
                    f"one profile states what all files show; {finding.rule} cannot",
                    found=finding.found,
                    allowed=finding.allowed,
                    next_step="draft a profile from fewer files, or write the profile by hand",
                )
