"""Checkpoints of a run: a folder that is replaced whole, tensors and JSON, nothing pickled."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from deployq.errors import InputError
from deployq.staging import recover, replacing_folder
from deployq.trainer.packing import pack, unpack
from deployq.trainer.position import Position
from deployq_targets import TargetProfile

FORMAT = 1
FOLDER = "checkpoint"
STATE_FILE = "training.json"
TENSOR_FILE = "training.safetensors"


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


@dataclass(frozen=True)
class Checkpoint:
    """A run between two optimizer steps.

    Args:
        position: its counts.
        state: nested state of module, optimizer, schedule and method.
    """

    position: Position
    state: Mapping[str, Any]


def write_checkpoint(output: Path, identity: Identity, checkpoint: Checkpoint) -> None:
    """Replace the checkpoint of a run's folder; the old one stays until this one is on disk.

    Raises:
        InputError: the file system refuses.
    """
    tensors: dict[str, Tensor] = {}
    state = pack(checkpoint.state, "state", tensors)
    facts = {"format": FORMAT, "position": checkpoint.position.to_json(), "state": state}
    text = json.dumps({**facts, **identity.facts()}, sort_keys=True, allow_nan=False)
    with replacing_folder(output / FOLDER, lambda path: None, "checkpoint") as folder:
        (folder / TENSOR_FILE).write_bytes(save(tensors))
        (folder / STATE_FILE).write_text(text + "\n", encoding="utf-8")


def read_checkpoint(output: Path, identity: Identity) -> Checkpoint:
    """The checkpoint of a run's folder; nothing is unpickled and no code is run.

    Raises:
        InputError: there is none, it is broken, or it belongs to another target, recipe or data.
    """
    recover(output / FOLDER, "checkpoint")
    folder = output / FOLDER
    if not (folder / STATE_FILE).is_file():
        raise InputError(
            str(folder),
            "a run is resumed from its checkpoint",
            found="none",
            next_step="leave --resume out to begin the run",
        )
    try:
        facts = json.loads((folder / STATE_FILE).read_text(encoding="utf-8"))
        tensors = load_file(folder / TENSOR_FILE)
        stated = facts["format"], facts["recipe"], facts["profile"], facts["samples"]
        position, state = Position.from_json(facts["position"]), unpack(facts["state"], tensors)
    except _BROKEN as error:
        raise InputError(
            str(folder),
            "the checkpoint cannot be read",
            found=f"{type(error).__name__}: {' '.join(str(error).split())}"[:300],
            next_step="begin the run anew in another folder",
        ) from error
    _check_identity(folder, identity, *stated)
    return Checkpoint(position, state)


_BROKEN = (
    SafetensorError,
    OSError,
    KeyError,
    TypeError,
    ValueError,
    AttributeError,
    RecursionError,
)
"""What files of the wrong content raise on the way to a state."""


def _check_identity(
    folder: Path, own: Identity, form: int, recipe: Any, profile: Any, samples: int
) -> None:
    if form != FORMAT:
        raise _other(folder, "format", str(form), str(FORMAT))
    wanted = own.facts()
    if profile != wanted["profile"]:
        names = profile["name"], own.profile.name
        found = names[0] if names[0] != names[1] else f"another {names[0]}"
        raise _other(folder, "target", found, names[1])
    keys = [key for key in wanted["recipe"] if recipe.get(key) != wanted["recipe"][key]]
    if keys:
        found = ", ".join(f"{key} = {json.dumps(recipe.get(key))}"[:80] for key in keys)
        allowed = ", ".join(f"{key} = {json.dumps(own.recipe[key])}"[:80] for key in keys)
        raise _other(folder, "recipe", found, allowed)
    if samples != own.samples:
        raise _other(folder, "training data", f"{samples} samples", f"{own.samples}")


def _other(folder: Path, what: str, found: str, allowed: str) -> InputError:
    return InputError(
        str(folder),
        f"a checkpoint is resumed by the {what} that it was trained by",
        found=found,
        allowed=allowed,
        next_step=f"give the {what} of the checkpoint, or begin a run in another folder",
    )
