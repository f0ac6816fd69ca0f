"""What a rule finds in a file, and the rule itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from enum import StrEnum
from string import Formatter
from typing import Any, NamedTuple, TypeAlias

from deployq_targets.checks.facts import CheckedFile
from deployq_targets.profile import TargetProfile


class Severity(StrEnum):
    """What a finding means for the file."""

    ERROR = "error"  # the target does not take the file, or computes something else
    WARNING = "warning"  # the target takes it, at a price
    NOTE = "note"  # worth knowing


class Breach(NamedTuple):
    """One place of a file that breaks a rule.

    Args:
        node: name of the ONNX node, "" for the file as a whole.
        tensor: name of the tensor, "" for an operator as a whole.
        found, allowed: as text.
        change: the nearest change that the target would take.
    """

    node: str
    tensor: str
    found: str
    allowed: str
    change: str


Find: TypeAlias = Callable[[CheckedFile, TargetProfile], Iterator[Breach]]


@dataclass(frozen=True)
class Rule:
    """A rule with what ``--explain`` prints.

    Args:
        id: stable; findings and reports name it.
        find: yields the breaches; its docstring is the rule in the user's words, where
            ``{container.opset_max}`` stands for the profile's value.
        keys: of the profile, that it reads.
        why: why hardware has such a rule.
        example: one file that breaks it, in a sentence.
        severity: of its findings.
    """

    id: str
    find: Find
    keys: tuple[str, ...]
    why: str
    example: str
    severity: Severity = Severity.ERROR

    def text(self, profile: TargetProfile) -> str:
        """The rule with the profile's values."""
        return _Values(profile).format(self.template)

    @property
    def template(self) -> str:
        """The rule with the keys of a profile in braces."""
        return " ".join(str(self.find.__doc__).split())


@dataclass(frozen=True)
class Finding:
    """A breach, with the rule that it breaks, in the profile's numbers."""

    rule: str
    text: str
    severity: Severity
    node: str
    tensor: str
    found: str
    allowed: str
    change: str

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


class _Values(Formatter):
    """Fills ``{section.key}`` from a profile."""

    def __init__(self, profile: TargetProfile) -> None:
        self.profile = profile

    def get_field(self, field_name: str, args: Any, kwargs: Any) -> tuple[str, str]:
        value: Any = self.profile
        for part in field_name.split("."):
            value = () if value is None else getattr(value, part)  # an absent section
            if value == ():
                break
        return value_text(value), field_name


def value_text(value: object) -> str:
    """A value of a profile as a person says it."""
    if value is None:
        return "unlimited"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (tuple, list, dict)) and not value:
        return "none"
    if isinstance(value, (tuple, list)):
        return ", ".join(map(value_text, value))
    if isinstance(value, dict):
        return ", ".join(f"{key}: {value_text(item)}" for key, item in value.items())
    return str(value)
