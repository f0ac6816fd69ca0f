"""A written file held against a profile: one small function a rule.

The rules read the file as it stands and know nothing of how it was made (law 4).
"""

from __future__ import annotations

from collections.abc import Iterator

import onnx

from deployq_targets.checks import (
    activations,
    biases,
    blocks,
    container,
    costs,
    extents,
    layer_outputs,
    operators,
    totals,
    weights,
)
from deployq_targets.checks.facts import CheckedFile
from deployq_targets.checks.finding import Breach, Finding, Rule, Severity
from deployq_targets.profile import TargetProfile

RULES: tuple[Rule, ...] = (
    *container.RULES,
    *extents.RULES,
    *operators.RULES,
    *activations.RULES,
    *weights.RULES,
    *blocks.RULES,
    *biases.RULES,
    *layer_outputs.RULES,
    *totals.RULES,
    *costs.RULES,
)
"""Every rule, in the order of a report."""


def check_model(model: onnx.ModelProto, profile: TargetProfile) -> tuple[Finding, ...]:
    """What in a file the target does not take, in the order of the rules.

    Args:
        model: any QDQ or QOperator file, with external data in memory.
        profile: the target.

    Raises:
        DeployqError: the file cannot be read (see :func:`deployq.qgraph.read_graph`).
    """
    file = CheckedFile.of(model, profile.contract(), joins_sums=profile.graph.joins_sums)
    return tuple(_findings(file, profile))


def _findings(file: CheckedFile, profile: TargetProfile) -> Iterator[Finding]:
    for rule in RULES:
        text = rule.text(profile)
        for breach in rule.find(file, profile):
            yield Finding(rule.id, text, rule.severity, *breach)


__all__ = ["RULES", "Breach", "CheckedFile", "Finding", "Rule", "Severity", "check_model"]
