"""Does a profile contradict itself? Runs the rules of ``rules/``, one small function each."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeAlias

from deployq.errors import ProfileError
from deployq_targets.profile import TargetProfile
from deployq_targets.rules import arithmetic, files, machine, numbers, requant, thresholds
from deployq_targets.rules.clash import Clash

Rule: TypeAlias = Callable[[TargetProfile], Iterator[Clash]]

RULES: tuple[Rule, ...] = (
    *numbers.RULES, *files.RULES, *arithmetic.RULES, *requant.RULES, *thresholds.RULES,
    *machine.RULES,
)  # fmt: skip


@dataclass(frozen=True)
class Contradiction:
    """A rule that a profile breaks, and where."""

    name: str
    rule: str
    clash: Clash


def find_contradictions(profile: TargetProfile) -> tuple[Contradiction, ...]:
    """Every place where the profile breaks a rule, in the order of the rules."""
    return tuple(
        Contradiction(rule.__name__, rule_text(rule), clash)
        for rule in RULES
        for clash in rule(profile)
    )


def check_consistent(profile: TargetProfile, where: str) -> None:
    """Refuse a profile that contradicts itself.

    Raises:
        ProfileError: the first contradiction, and how many follow.
    """
    found = find_contradictions(profile)
    if not found:
        return
    first, clash = found[0], found[0].clash
    more = f"{len(found) - 1} more to mend after it" if len(found) > 1 else ""
    raise ProfileError(
        f"{where}: {clash.key}",
        first.rule,
        found=clash.found,
        allowed=clash.allowed,
        next_step="; ".join(filter(None, (clash.next_step or f"change {clash.key}", more))),
    )


def rule_text(rule: Rule) -> str:
    """A rule in the user's words: its docstring."""
    return inspect.getdoc(rule) or rule.__name__
