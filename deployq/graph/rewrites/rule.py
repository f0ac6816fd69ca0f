"""The shape of a rewrite: a guarded pattern and its replacement."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import fx


@dataclass(frozen=True)
class Rewrite:
    """One graph edit.

    Args:
        name: what it does, for logs.
        match: whether the node is the root of the pattern and the guard holds.
        rewrite: replaces it in place.
    """

    name: str
    match: Callable[[fx.GraphModule, fx.Node], bool]
    rewrite: Callable[[fx.GraphModule, fx.Node], None]


def calls(node: object, *targets: object) -> bool:
    """True when ``node`` calls one of the operators."""
    return isinstance(node, fx.Node) and node.op == "call_function" and node.target in targets


def argument(node: fx.Node, index: int, name: str, default: Any = None) -> Any:
    """A positional or keyword argument of an ATen call."""
    return node.args[index] if len(node.args) > index else node.kwargs.get(name, default)


def replace(node: fx.Node, target: Any, args: tuple[Any, ...]) -> fx.Node:
    """Put a call of ``target`` in the place of ``node``; metadata moves along."""
    with node.graph.inserting_before(node):
        new = node.graph.call_function(target, args)
    new.meta = dict(node.meta)
    node.replace_all_uses_with(new)
    node.graph.erase_node(node)
    return new
