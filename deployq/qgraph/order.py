"""Names of a graph: each tensor is made once, and before it is read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from graphlib import CycleError, TopologicalSorter

import onnx

from deployq.errors import InputError
from deployq.qgraph.values import where

SHOWN = 8
"""Tensors of a cycle that the message has."""

_MEND = "repair the graph in the tool that wrote the file"


def check_order(graph: onnx.GraphProto) -> None:
    """Refuse names that contradict each other, and nodes that come too early.

    Raises:
        InputError: a tensor without a name or made twice, a cycle, a node that reads what is made
            behind it or nowhere, or an output that nothing makes.
    """
    constants = [tensor.name for tensor in graph.initializer]
    constants += [tensor.values.name for tensor in graph.sparse_initializer]
    stored = frozenset(constants)
    given = [value.name for value in graph.input if value.name not in stored]
    made = [name for node in graph.node for name in node.output if name]
    _check_names([*constants, *given, *made])
    _check_cycles(graph)
    known, later = {*stored, *given}, frozenset(made)
    for node in graph.node:
        for index, name in enumerate(node.input):
            if name and name not in known:
                raise _too_early(f"{where(node)}, input {index}", name, name in later)
        known.update(node.output)
    for value in graph.output:
        if value.name not in known:
            raise _too_early("graph outputs", value.name, False)


def _check_names(names: Iterable[str]) -> None:
    for name, count in Counter(names).items():
        if count > 1 or not name:
            raise InputError(
                f"tensor {name!r}",
                "a tensor has a name and is made once",
                found=f"made {count} times" if name else "no name",
                next_step=_MEND,
            )


def _check_cycles(graph: onnx.GraphProto) -> None:
    sources = {name: list(node.input) for node in graph.node for name in node.output if name}
    try:
        TopologicalSorter(sources).prepare()
    except CycleError as error:
        tensors = error.args[1]
        raise InputError(
            f"tensor {tensors[0]!r}",
            "no tensor follows from itself",
            found=" -> ".join([*tensors[:SHOWN], *(["..."] if len(tensors) > SHOWN else [])]),
            allowed="a graph without cycles",
            next_step=_MEND,
        ) from error


def _too_early(place: str, name: str, comes_later: bool) -> InputError:
    return InputError(
        place,
        "a node reads tensors made before it",
        found=f"{name!r}, which " + ("a later node makes" if comes_later else "nothing makes"),
        next_step="sort the graph" if comes_later else _MEND,
    )
