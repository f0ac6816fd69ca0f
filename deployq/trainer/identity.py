"""What a checkpoint may be resumed by, and where it differs from what the user names."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deployq.errors import InputError
from deployq_targets import TargetProfile

SHOWN = 8
"""Keys that an error names at most."""


@dataclass(frozen=True)
class Identity:
    """What a checkpoint may be resumed by.

    Args:
        recipe: its facts, see ``recipe_facts``.
        profile: the target.
        samples: of the training data.
    """

    recipe: Mapping[str, Any]
    profile: TargetProfile
    samples: int

    def facts(self) -> dict[str, Any]:
        """Plain data."""
        profile = self.profile.model_dump(mode="json")
        return {"recipe": dict(self.recipe), "profile": profile, "samples": self.samples}


def check_identity(folder: Path, own: Identity, stated: Mapping[str, Any]) -> None:
    """Refuse a checkpoint of another target, recipe or data.

    Args:
        folder: of the checkpoint.
        own: of the run that would go on from it.
        stated: facts of the checkpoint, as :meth:`Identity.facts` gave them.

    Raises:
        InputError: with the first that differs; of a recipe, with its keys.
    """
    wanted, profile = own.facts(), stated["profile"]
    if profile != wanted["profile"]:
        names = own.profile.name, profile["name"]
        found = names[0] if names[0] != names[1] else f"another {names[0]}"
        raise other_run(folder, "target", found, names[1])
    keys = list(different_keys(wanted["recipe"], stated["recipe"]))
    if keys:
        found, has = (", ".join(key[side] for key in keys[:SHOWN]) for side in (0, 1))
        more = f", and {len(keys) - SHOWN} more" if len(keys) > SHOWN else ""
        raise other_run(folder, "recipe", found + more, has)
    if stated["samples"] != own.samples:
        found, has = f"{own.samples} samples", f"{stated['samples']} samples"
        raise other_run(folder, "training data", found, has)


def different_keys(own: Mapping[str, Any], stated: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Each dotted key whose values differ, as ``optimizer.rate = 0.1`` on both sides."""
    left, right = dict(_leaves(own)), dict(_leaves(stated))
    for key in {**left, **right}:
        sides = [f"{key} = {side[key]}" if key in side else f"no {key}" for side in (left, right)]
        if sides[0] != sides[1]:
            yield sides[0], sides[1]


def _leaves(value: Any, *path: str) -> Iterator[tuple[str, str]]:
    """Dotted keys with the text of their values; lists of tables count their entries."""
    if isinstance(value, list) and any(isinstance(item, Mapping) for item in value):
        value = dict(enumerate(value))
    if isinstance(value, Mapping) and (value or not path):
        for key, item in value.items():
            yield from _leaves(item, *path, str(key))
    else:
        yield ".".join(path), json.dumps(value)[:80]


def other_run(folder: Path, what: str, found: str, allowed: str) -> InputError:
    """The error for a checkpoint that is not of this run."""
    return InputError(
        str(folder),
        f"a checkpoint is resumed by the {what} that it was trained by",
        found=found,
        allowed=f"{allowed}, as the checkpoint has it",
        next_step=f"give the {what} of the checkpoint, or begin a run in another folder",
    )
