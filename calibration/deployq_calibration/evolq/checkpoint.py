"""A search that was cut off goes on where it was, and ends with the same scales."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from safetensors.torch import load, save
from torch import Tensor

from deployq.errors import InputError
from deployq_calibration.evolq.held_out import HeldOut
from deployq_calibration.evolq.identity import differences


@dataclass(frozen=True)
class State:
    """Everything that the rest of a search depends on.

    Args:
        visits: of blocks that are done.
        fitness: of the network as it is.
        held_out: what the held-out batches say.
        history: fitness after each visit.
        draw: state of the generator.
        genes: of each block, in graph order.
        best: genes of the pass that the held-out batches prefer.
    """

    visits: int
    fitness: float
    held_out: HeldOut
    history: tuple[float, ...]
    draw: Tensor
    genes: tuple[Tensor, ...]
    best: tuple[Tensor, ...]


NUMBERS = ("visits", "fitness", "held_out", "history")
KEY = "deployq.evolq"


def save_state(path: Path, state: State, facts: dict[str, Any]) -> None:
    """Written beside and renamed: a file is a whole one at every instant.

    Args:
        facts: what a search must share with the state that it goes on from.

    Raises:
        InputError: the file system refuses.
    """
    tensors = {f"genes.{i}": genes for i, genes in enumerate(state.genes)}
    tensors |= {f"best.{i}": genes for i, genes in enumerate(state.best)}
    tensors = {name: tensor.clone() for name, tensor in tensors.items()} | {"draw": state.draw}
    numbers = {name: value for name, value in asdict(state).items() if name in NUMBERS}
    text = json.dumps({"numbers": numbers, "facts": facts}, sort_keys=True)
    beside = path.with_name(f".{path.name}.new")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with beside.open("wb") as file:
            file.write(save(tensors, {KEY: text}))
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except OSError as error:
        raise _refusal(path, error.strerror or str(error)) from error


def load_state(path: Path, facts: dict[str, Any], visits: int) -> State | None:
    """The state at a path; None where there is none.

    Args:
        visits: of all passes.

    Raises:
        InputError: it is damaged, no file, of another search, or further than this one goes.
    """
    if not os.path.lexists(path):
        return None
    try:
        data = path.read_bytes()
        size = int.from_bytes(data[:8], "little")
        stored = json.loads(json.loads(data[8 : 8 + size])["__metadata__"][KEY])
        apart = differences(stored["facts"], json.loads(json.dumps(facts)))
        state = None if apart else _state(stored["numbers"], load(data), len(facts["blocks"]))
    except OSError as error:
        raise _refusal(path, "a folder" if path.is_dir() else str(error.strerror)) from error
    except Exception as error:  # a foreign file can fail in any of these steps
        raise _refusal(path, f"{type(error).__name__}: damaged, or of another kind") from error
    if state is None:
        raise _refusal(path, f"of a search with other {', '.join(apart)}")
    if state.visits > visits:
        raise _refusal(path, f"{state.visits} visits of blocks, of more passes than are wanted")
    return state


@dataclass(frozen=True)
class Checkpoint:
    """Where a search keeps its state, if anywhere.

    Args:
        path: of the file; None keeps nothing.
        facts: see :func:`save_state`.
        writes: whether this process of several writes it.
    """

    path: Path | None = None
    facts: dict[str, Any] = field(default_factory=dict)
    writes: bool = True

    def load(self, visits: int) -> State | None:
        """See :func:`load_state`."""
        return None if self.path is None else load_state(self.path, self.facts, visits)

    def save(self, state: State) -> None:
        """See :func:`save_state`."""
        if self.path is not None and self.writes:
            save_state(self.path, state, self.facts)

    def beside(self, **facts: Any) -> Checkpoint:
        """Of the search of any scales that goes ahead."""
        path = None if self.path is None else self.path.with_name(f"{self.path.name}.free")
        return replace(self, path=path, facts=self.facts | facts)


def _state(numbers: dict[str, Any], tensors: dict[str, Tensor], count: int) -> State:
    return State(
        int(numbers["visits"]), float(numbers["fitness"]), _held_out(numbers["held_out"]),
        tuple(numbers["history"]), tensors["draw"],
        tuple(tensors[f"genes.{i}"] for i in range(count)),
        tuple(tensors[f"best.{i}"] for i in range(count)),
    )  # fmt: skip


def _held_out(facts: dict[str, Any]) -> HeldOut:
    return HeldOut(tuple(facts["fitness"]), int(facts["best"]), tuple(facts["losses"]))


def _refusal(path: Path, found: str) -> InputError:
    return InputError(
        str(path),
        "a search writes its checkpoint to a file, and goes on from its own",
        found=found,
        next_step="give another path, or delete the file",
    )
