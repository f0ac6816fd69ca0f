"""What is made ready once a node."""

from __future__ import annotations

from collections.abc import Hashable
from typing import TypeVar
from weakref import finalize

from deployq.qgraph.nodes import Node

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


def kept_with(node: Node, store: dict[int, dict[Key, Value]]) -> dict[Key, Value]:
    """The entries of a node in a store, by its identity: equal names make nodes equal.

    They go when the node goes; none may hold it.
    """
    key = id(node)
    if key not in store:
        store[key] = {}
        finalize(node, store.pop, key)
    return store[key]
