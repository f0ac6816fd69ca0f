"""Checkpoints of a run: a folder that is replaced whole, tensors and JSON, nothing pickled."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from deployq.errors import InputError
from deployq.graph.preparation import PreparedModel
from deployq.staging import recover, replacing_folder
from deployq.trainer.identity import Identity, check_identity, other_run
from deployq.trainer.packing import pack, unpack
from deployq.trainer.position import Position

FORMAT = 2
FOLDER = "checkpoint"
STATE_FILE = "training.json"
TENSOR_FILE = "training.safetensors"
PARTS = ("module", "optimizer", "schedule", "method")
"""Of the state."""


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
    with readable(folder):
        facts = json.loads((folder / STATE_FILE).read_text(encoding="utf-8"))
        tensors = load_file(folder / TENSOR_FILE)
        _check_format(folder, facts["format"])
        stated = {key: facts[key] for key in ("recipe", "profile", "samples")}
        position, state = Position.from_json(facts["position"]), unpack(facts["state"], tensors)
        check_identity(folder, identity, stated)
        _check_parts(folder, state)
    return Checkpoint(position, state)


_BROKEN = (
    SafetensorError,
    OSError,
    LookupError,
    TypeError,
    ValueError,
    AttributeError,
    RecursionError,
)
"""What files of the wrong content raise on the way to a state."""


@contextmanager
def readable(folder: Path) -> Iterator[None]:
    """Says of a checkpoint that it cannot be read where the block finds it broken.

    Raises:
        InputError: it is.
    """
    try:
        yield
    except _BROKEN as error:
        raise InputError(
            str(folder),
            "the checkpoint cannot be read",
            found=f"{type(error).__name__}: {' '.join(str(error).split())}"[:300],
            next_step="begin the run anew in another folder",
        ) from error


def _check_format(folder: Path, found: object) -> None:
    if found != FORMAT:
        raise InputError(
            str(folder),
            "a checkpoint has the format of this version",
            found=str(found),
            allowed=str(FORMAT),
            next_step="go on with the version of deployq that began the run",
        )


def _check_parts(folder: Path, state: Mapping[str, Any]) -> None:
    missing = [part for part in PARTS if part not in state]
    if missing:
        raise InputError(
            str(folder),
            "a checkpoint holds all parts of a run's state",
            found=f"no {', '.join(missing)}",
            allowed=", ".join(PARTS),
            next_step="begin the run anew in another folder",
        )


def check_network(folder: Path, checkpoint: Checkpoint, prepared: PreparedModel) -> None:
    """Refuse the checkpoint of another network.

    Args:
        prepared: the recipe's model at the widths of the checkpoint's phase.

    Raises:
        InputError: a tensor that only one of them has, or of another shape.
    """
    found = _shapes(prepared.module.state_dict())
    stated = _shapes(checkpoint.state["module"])
    for name in {**found, **stated}:
        if found.get(name) != stated.get(name):
            sides = [f"{name} {s[name]}" if name in s else f"no {name}" for s in (found, stated)]
            raise other_run(folder, "model", *sides)


def _shapes(state: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    """Of all tensors but the exponents of scales, which are there only while they learn."""
    named = ((name, tuple(tensor.shape)) for name, tensor in state.items())
    return {name: shape for name, shape in named if not name.endswith(".exponent")}
