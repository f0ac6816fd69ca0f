"""The errors a user can meet.

::

    DeployqError                 base: one sentence frame for all
    ├── InputError               a file, flag or array the user gave cannot be used
    │   └── UnsafeFileError      refused before reading: it could run code or leave its folder
    ├── ProfileError             a target profile breaks its own schema or contradicts itself
    ├── QuantizationError        a QType, QParams or code breaks a rule of the vocabulary
    ├── UnsupportedError         a model holds something that deployq cannot carry to the target
    └── AccumulatorOverflowError an accumulator can leave the width that the contract states

Every error names where, the rule, what was found, what is allowed and the next step (law 10).
The command line prints the text and exits with code 2; it never shows a traceback for these.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TypeVar


class DeployqError(Exception):
    """Base of all errors that a user can cause and mend.

    Args:
        where: the tensor, node, key or file that is at fault.
        rule: the rule that is broken, as one sentence.
        found: what was there.
        allowed: what would be accepted.
        next_step: what the user can do now.
    """

    def __init__(
        self, where: str, rule: str, *, found: str = "", allowed: str = "", next_step: str = ""
    ) -> None:
        self.where = where
        self.rule = rule
        self.found = found
        self.allowed = allowed
        self.next_step = next_step
        super().__init__(self._text())

    def _text(self) -> str:
        parts = [f"{self.where}: {self.rule}"]
        labelled = (("found", self.found), ("allowed", self.allowed), ("next", self.next_step))
        parts += [f"  {label}: {text}" for label, text in labelled if text]
        return "\n".join(parts)

    def as_dict(self) -> dict[str, str]:
        """The five facts, for ``--json``."""
        return {
            "error": type(self).__name__,
            "where": self.where,
            "rule": self.rule,
            "found": self.found,
            "allowed": self.allowed,
            "next": self.next_step,
        }


class InputError(DeployqError):
    """A file, flag or array that the user gave cannot be used."""


class UnsafeFileError(InputError):
    """A file that could run code, or that reaches outside its own folder; refused unread."""


class ProfileError(DeployqError):
    """A target profile breaks its schema or contradicts itself."""


class QuantizationError(DeployqError):
    """A QType, QParams or code tensor breaks a rule of the vocabulary."""


class UnsupportedError(DeployqError):
    """The model holds something that deployq cannot carry to the target."""


class AccumulatorOverflowError(DeployqError):
    """An accumulator leaves the width that the contract states and the contract says reject."""


Word = TypeVar("Word", bound=StrEnum)


def choose_word(kind: type[Word], word: str, *, where: str, rule: str, next_step: str) -> Word:
    """The member of ``kind`` that ``word`` names, or is.

    Raises:
        InputError: it names none; ``where``, ``rule`` and ``next_step`` are the error's.
    """
    try:
        return kind(word)
    except ValueError as error:
        raise InputError(
            where, rule, found=repr(str(word)), allowed=", ".join(kind), next_step=next_step
        ) from error
