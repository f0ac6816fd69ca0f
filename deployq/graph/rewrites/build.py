"""New calls of a rewrite, with shapes."""

from __future__ import annotations

from typing import Any

import torch
from torch import fx

aten = torch.ops.aten


def build(origin: fx.Node, target: Any, source: fx.Node, *args: Any) -> fx.Node:
    """A call ``target(source, *args)`` in front of ``origin``.

    It has the metadata of ``origin``, which leads to the user's module, and a shape of its own.
    """
    with origin.graph.inserting_before(origin):
        node = origin.graph.call_function(target, (source, *args))
    node.meta = {**origin.meta, "val": target(source.meta["val"], *args)}
    return node


def substitute(origin: fx.Node, result: fx.Node) -> None:
    """Let ``result`` take the place of ``origin``."""
    result.meta = dict(origin.meta)
    origin.replace_all_uses_with(result)
    origin.graph.erase_node(origin)


def static_shape(value: torch.Tensor) -> list[int] | None:
    """Sizes with -1 for the one that is symbolic; None where several are, or a -1 cannot say it."""
    symbolic = [not isinstance(size, int) for size in value.shape]
    if sum(symbolic) > 1 or (any(symbolic) and 0 in value.shape):
        return None
    return [-1 if free else size for free, size in zip(symbolic, value.shape, strict=True)]
