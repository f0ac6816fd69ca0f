"""A search that was cut off goes on where it was, and ends with the same scales."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from safetensors.torch import load, save
from torch import Tensor

from deployq.errors import InputError


@dataclass(frozen=True)
class State:
    """Everything that the rest of a search depends on.

    Args:
        visits: of blocks that are done.
        fitness: of the network as it is.
        held_back: fitness of the watching batches after each pass, the start first.
        history: fitness after each visit.
        draw: state of the generator.
        genes: of each block, in graph order.
        best: genes of the pass with the best ``held_back``.
    """

    visits: int
    fitness: float
    held_back: tuple[float, ...]
    history: tuple[float, ...]
    draw: Tensor
    genes: tuple[Tensor, ...]
    best: tuple[Tensor, ...]

    def but(self, **changes: Any) -> State:
        """The same with changes."""
        return replace(self, **changes)


NUMBERS = ("visits", "fitness", "held_back", "history")
KEY = "deployq.evolq"


def save_state(path: Path, state: State, facts: dict[str, Any]) -> None:
    """Written beside and renamed: a file is a whole one at every instant.

    Args:
        facts: what a search must share with the state that it goes on from.
    """
    tensors = {f"genes.{i}": genes for i, genes in enumerate(state.genes)}
    tensors |= {f"best.{i}": genes for i, genes in enumerate(state.best)}
    tensors = {name: tensor.clone() for name, tensor in tensors.items()} | {"draw": state.draw}
    numbers = {name: value for name, value in asdict(state).items() if name in NUMBERS}
    text = json.dumps({"numbers": numbers, "facts": facts}, sort_keys=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.new")
    with beside.open("wb") as file:
        file.write(save(tensors, {KEY: text}))
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)


def load_state(path: Path, facts: dict[str, Any]) -> State | None:
    """The state at a path; None where there is none.

    Raises:
        InputError: it is damaged, or of another search.
    """
    if not path.exists():
        return None
    data = path.read_bytes()
    try:
        size = int.from_bytes(data[:8], "little")
        stored = json.loads(json.loads(data[8 : 8 + size])["__metadata__"][KEY])
        tensors = load(data)
    except Exception as error:  # a foreign file can fail in any of these steps
        raise _refusal(path, f"{type(error).__name__}: damaged, or of another kind") from error
    if stored["facts"] != json.loads(json.dumps(facts)):
        keys = [k for k, v in stored["facts"].items() if json.loads(json.dumps(facts)).get(k) != v]
        raise _refusal(path, f"of a search with other {', '.join(keys) or 'facts'}")
    numbers = stored["numbers"]
    count = len(stored["facts"]["blocks"])
    return State(
        int(numbers["visits"]), float(numbers["fitness"]), tuple(numbers["held_back"]),
        tuple(numbers["history"]), tensors["draw"],
        tuple(tensors[f"genes.{i}"] for i in range(count)),
        tuple(tensors[f"best.{i}"] for i in range(count)),
    )  # fmt: skip


def _refusal(path: Path, found: str) -> InputError:
    return InputError(
        str(path),
        "a search goes on from a checkpoint of its own",
        found=found,
        next_step="give another path, or delete the file",
    )
