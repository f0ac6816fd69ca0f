"""New calls of a rewrite, with shapes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch._dispatch.python import enable_python_dispatcher

from deployq.graph.tensors import attach, free_name

aten = torch.ops.aten
MADE = "made"
"""Of a tensor that a rewrite made: the name that it asked for."""


def build(origin: fx.Node, target: Any, source: fx.Node, *args: Any) -> fx.Node:
    """A call ``target(source, *args)`` in front of ``origin``.

    It has the metadata of ``origin``, which leads to the user's module, and a shape of its own.
    """
    with origin.graph.inserting_before(origin):
        node = origin.graph.call_function(target, (source, *args))
    with enable_python_dispatcher():  # as torch.export has it: padding fixes a free batch without
        node.meta = {**origin.meta, "val": target(source.meta["val"], *args)}
    return node


def new_tensor(
    module: nn.Module, origin: fx.Node, name: str, value: Tensor, *, persistent: bool = True
) -> fx.Node:
    """A new tensor of the model, read in front of ``origin``; a taken name gains underscores."""
    path = free_name(module, name)
    attach(module, path, value, persistent=persistent)
    with origin.graph.inserting_before(origin):
        read = origin.graph.get_attr(path)
    read.meta = {"val": value.detach(), MADE: name}
    return read


def shared_tensor(
    module: nn.Module, origin: fx.Node, name: str, make: Callable[[], Tensor]
) -> fx.Node:
    """:func:`new_tensor`, made once, by the first of the calls that ask for this name."""
    made = (node for node in origin.graph.nodes if node.meta.get(MADE) == name)
    found: fx.Node | None = next(made, None)
    return new_tensor(module, origin, name, make()) if found is None else found


def pick_rows(
    module: nn.Module, origin: fx.Node, source: fx.Node, axis: int, rows: Tensor, name: str
) -> fx.Node:
    """``index_select(source, axis, rows)`` in front of ``origin``: codes that move.

    Args:
        axis: not below 0.
        rows: int64, (count,), which become a tensor ``name`` of the model.
    """
    index = new_tensor(module, origin, name, rows)
    with origin.graph.inserting_before(origin):
        picked = origin.graph.call_function(aten.index_select.default, (source, axis, index))
    value = source.meta["val"]
    sizes = [len(rows) if i == axis else size for i, size in enumerate(value.shape)]
    picked.meta = {**origin.meta, "val": value.new_empty(sizes)}
    return picked


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
