"""Findings as JUnit XML, in the dialect of Jenkins' xUnit plugin: a test case for each rule."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from deployq.check_formats.artifact import artifact_path
from deployq_targets import TargetProfile
from deployq_targets.checks import RULES, Finding, Rule, Severity

NO_CHARACTER = re.compile(
    "[^\t\n\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufdcf\ufdf0-\ufffd\U00010000-\U0010fffd]"
)
"""What XML 1.0 (section 2.2) cannot hold or discourages, and the carriage return."""


def junit_xml(source: Path, profile: TargetProfile, findings: Sequence[Finding]) -> str:
    """One suite; a rule fails where one of its findings is an error, others are its output. ASCII.

    Args:
        source: as the user gave it; see :func:`artifact_path`.
    """
    by_rule: dict[str, list[Finding]] = {}
    for finding in findings:
        by_rule.setdefault(finding.rule, []).append(finding)
    failures = sum(any(map(_fails, found)) for found in by_rule.values())
    counts = {"tests": str(len(RULES)), "failures": str(failures), "errors": "0"}
    name = f"deployq check {artifact_path(source)} --target {profile.name}"
    root = Element("testsuites", counts)
    suite = SubElement(root, "testsuite", {"name": _text(name), **counts, "skipped": "0"})
    for rule in RULES:
        _add_case(suite, rule, profile, by_rule.get(rule.id, []))
    indent(root)
    return str(tostring(root, encoding="us-ascii", xml_declaration=True), "ascii") + "\n"


def _add_case(
    suite: Element, rule: Rule, profile: TargetProfile, findings: Sequence[Finding]
) -> None:
    names = {"classname": f"deployq.check.{profile.name}", "name": rule.id}
    case = SubElement(suite, "testcase", names)
    failed = [finding for finding in findings if _fails(finding)]
    other = [finding for finding in findings if not _fails(finding)]
    if failed:
        facts = {"type": Severity.ERROR.value, "message": _text(rule.text(profile))}
        SubElement(case, "failure", facts).text = _lines(failed)
    if other:
        SubElement(case, "system-out").text = _lines(other)


def _fails(finding: Finding) -> bool:
    return finding.severity is Severity.ERROR


def _lines(findings: Sequence[Finding]) -> str:
    """A line for each finding."""
    return "".join(
        _text(
            f"{f.severity}: node '{f.node}', tensor '{f.tensor}': found {f.found}, "
            f"allowed {f.allowed}; {f.change}\n"
        )
        for f in findings
    )


def _text(text: str) -> str:
    """Text that XML can hold; other characters as Python escapes them."""
    return NO_CHARACTER.sub(lambda found: ascii(found.group())[1:-1], text)
