"""What files show, and what they cannot show."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

from deployq_targets.checks import CheckedFile
from deployq_targets.profile import TargetProfile


class Fact(NamedTuple):
    """A value of a profile.

    Args:
        value: as TOML has it.
        shown: which tensor or node shows it.
    """

    value: Any
    shown: str


Facts: TypeAlias = dict[str, Fact]
"""By dotted key; of an ``[[op]]`` entry by the key inside it."""


class Question(NamedTuple):
    """A value that no file shows.

    Args:
        key: dotted.
        text: the question, to whoever knows the target.
        placeholder: what the draft states until it is answered; None where it states nothing.
    """

    key: str
    text: str
    placeholder: Any = None


@dataclass(frozen=True)
class NamedFile:
    """A file that the target takes.

    Args:
        name: how messages call it.
        source: the name with what identifies its content.
        file: as rules read it.
        alone: there is no other, so a place in it needs no name of the file.
    """

    name: str
    source: str
    file: CheckedFile
    alone: bool = False

    def at(self, place: str) -> str:
        """A tensor or node of this file, as evidence calls it."""
        return place if self.alone else f"{self.name}: {place}"


@dataclass(frozen=True)
class Draft:
    """A drafted profile.

    Args:
        profile: valid and without contradictions.
        head: ``name``, ``summary`` and the like, in the order of the file.
        facts: dotted key to what a file shows.
        operators: facts of each ``[[op]]`` entry.
        questions: what is left to answer.
    """

    profile: TargetProfile
    head: Mapping[str, Any]
    facts: Mapping[str, Fact]
    operators: tuple[Facts, ...]
    questions: tuple[Question, ...]


class Seen(NamedTuple):
    """One value and where it was seen: file, and tensor or node."""

    value: Any
    where: str


def least(seen: Iterable[Seen]) -> Seen:
    """The smallest value, with the first place of it."""
    return min(seen, key=lambda one: one.value)


def greatest(seen: Iterable[Seen]) -> Seen:
    """The largest value, with the first place of it."""
    return max(seen, key=lambda one: one.value)


def span(seen: Iterable[Seen]) -> Fact:
    """``[low, high]``."""
    every = list(seen)
    low, high = least(every), greatest(every)
    where = low.where if low.value == high.value else f"{low.where}; {high.where}"
    return Fact([low.value, high.value], where)


def listed(seen: Iterable[Seen]) -> Fact:
    """The different values, the most frequent first, and where each was seen first."""
    counts: dict[Any, int] = {}
    first: dict[Any, str] = {}
    for value, where in seen:
        counts[value] = counts.get(value, 0) + 1
        first.setdefault(value, where)
    values = sorted(counts, key=lambda value: -counts[value])
    return Fact(values, "; ".join(f"{value}: {first[value]}" for value in values))
