"""A profile value by value: what it is, how it became known, which file states it; and diffs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from deployq_targets.evidence import tag_of
from deployq_targets.leaves import leaves, untagged
from deployq_targets.loader import LoadedProfile
from deployq_targets.profile import TargetProfile
from deployq_targets.words import Evidence

ABSENT = None
"""Stands for a key that a profile does not have."""


@dataclass(frozen=True)
class StatedValue:
    """One value of a profile.

    Args:
        value: as JSON.
        evidence: how it became known.
        origin: name of the built-in profile, or path of the file, that states it.
    """

    value: Any
    evidence: Evidence
    origin: str

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def stated_values(loaded: LoadedProfile) -> dict[str, StatedValue]:
    """Every value that the profile or a parent states, by dotted key; no defaults of the schema."""
    tags = loaded.profile.evidence
    return {
        path: StatedValue(value, tag_of(tags, untagged(path)), loaded.origins[path])
        for path, value in leaves(loaded.table).items()
    }


def resolved_values(profile: TargetProfile) -> dict[str, Any]:
    """Every value that the profile has, by dotted key, defaults of the schema among them."""
    return leaves(profile.model_dump(mode="json", exclude_none=True))


def differences(a: TargetProfile, b: TargetProfile) -> Mapping[str, tuple[Any, Any]]:
    """Dotted keys whose resolved values differ, with both; None where one has no such key."""
    left, right = resolved_values(a), resolved_values(b)
    keys = [*left, *(key for key in right if key not in left)]
    pairs = {key: (left.get(key, ABSENT), right.get(key, ABSENT)) for key in keys}
    return {key: pair for key, pair in pairs.items() if pair[0] != pair[1]}
