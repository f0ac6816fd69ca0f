"""The findings of a check in the formats that other programs read: JSON, SARIF, JUnit XML."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

from deployq.check_formats.junit import junit_xml
from deployq.check_formats.sarif import sarif_log
from deployq.check_rendering import check_facts
from deployq_targets import TargetProfile
from deployq_targets.checks import Finding

Render: TypeAlias = Callable[[Path, TargetProfile, Sequence[Finding]], str]


def _json(source: Path, profile: TargetProfile, findings: Sequence[Finding]) -> str:
    return json.dumps(check_facts(source, profile, findings), indent=2) + "\n"


def _sarif(source: Path, profile: TargetProfile, findings: Sequence[Finding]) -> str:
    return json.dumps(sarif_log(source, profile, findings), indent=2) + "\n"


FORMATS: Mapping[str, Render] = {"json": _json, "sarif": _sarif, "junit": junit_xml}
"""By the word after ``--format``: the file that was checked, the profile, the findings, to text."""
