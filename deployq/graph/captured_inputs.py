"""The inputs of a network on their way into torch.export, and their names on the way out."""

from __future__ import annotations

import keyword
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import torch
from torch import Tensor, fx
from torch.utils import _pytree as pytree

from deployq.errors import InputError

Examples: TypeAlias = Sequence[Any] | Mapping[str, Any]
"""By position or by keyword; a value is a tensor, or a dict of tensors."""


def call_arguments(examples: Examples) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Positional and keyword arguments with at least two samples each.

    Raises:
        InputError: an input without a batch dimension.
    """
    if isinstance(examples, Mapping):
        return (), {name: _two_samples(value) for name, value in examples.items()}
    return tuple(_two_samples(value) for value in examples), {}


def dynamic_batch(value: Any) -> Any:
    """For each tensor of (nested) arguments: its first dimension is free."""
    return pytree.tree_map(lambda _: {0: torch.export.Dim.DYNAMIC}, value)


def _two_samples(value: Any) -> Any:
    """A batch of one would be traced as a constant; two stand for any number."""
    if isinstance(value, Mapping):
        return {name: _two_samples(item) for name, item in value.items()}
    x: Tensor = value
    if not x.ndim:
        raise InputError(
            "example_inputs",
            "an input has the batch as its first dimension",
            found="rank 0",
            next_step="make the number part of the model",
        )
    return x.repeat(2, *[1] * (x.ndim - 1)) if x.shape[0] == 1 else x


def name_inputs(graph: fx.Graph, in_spec: pytree.TreeSpec) -> None:
    """Give an input that came in a dict its key: torch.export calls it ``<argument>_<key>``.

    Args:
        graph: of the exported program, its placeholders in the order of ``in_spec``.
        in_spec: of ``(args, kwargs)``.

    Raises:
        InputError: a key that is no Python name, or two inputs of one name.
    """
    inputs = [node for node in graph.nodes if node.op == "placeholder"]
    tree = pytree.tree_unflatten(range(in_spec.num_leaves), in_spec)
    paths, _ = pytree.tree_flatten_with_path(tree)
    if len(paths) != len(inputs):
        return
    names = [_key(path) or str(node.target) for (path, _), node in zip(paths, inputs, strict=True)]
    for node, name in zip(inputs, names, strict=True):
        if not name.isidentifier() or keyword.iskeyword(name) or names.count(name) > 1:
            raise InputError(
                f"input {name}",
                "each input has a name of its own, of letters, digits and underscores",
                found="two of this name" if names.count(name) > 1 else repr(name),
                next_step="rename the key of the dict",
            )
        node.target = name


def _key(path: tuple[Any, ...]) -> str:
    """The last key of a path into dicts, '' for a positional argument."""
    key = getattr(path[-1], "key", None)
    return "" if key is None else str(key)


def input_shapes(graph: fx.Graph) -> dict[str, tuple[int, ...]]:
    """Name to shape of each input of a captured graph, the batch dimension as 0."""
    return {name: (0, *value.shape[1:]) for name, value in _values(graph)}


def input_types(graph: fx.Graph) -> dict[str, str]:
    """Name to type of each input that is not float32, as NumPy calls it."""
    types = {name: str(value.dtype).removeprefix("torch.") for name, value in _values(graph)}
    return {name: kind for name, kind in types.items() if kind != "float32"}


def _values(graph: fx.Graph) -> list[tuple[str, Tensor]]:
    inputs = [node for node in graph.nodes if node.op == "placeholder"]
    return [(str(node.target), node.meta["val"]) for node in inputs]
