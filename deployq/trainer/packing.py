"""Nested state of torch objects as JSON and plain tensors, both ways; nothing is pickled."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

TENSOR, ITEMS, TUPLE = "tensor", "items", "tuple"


def pack(value: Any, path: str, tensors: dict[str, Tensor]) -> Any:
    """What JSON can say of a value; its tensors go into ``tensors``, named by ``path``.

    Args:
        value: dicts with keys of text or integers, lists, tuples, numbers, text, None and tensors.

    Raises:
        TypeError: anything else (a programming error).
    """
    if isinstance(value, Tensor):
        tensors[path] = value.detach().cpu().contiguous().clone()
        return {TENSOR: path}
    if isinstance(value, Mapping):
        return {ITEMS: [[key, pack(item, f"{path}/{key}", tensors)] for key, item in value.items()]}
    if isinstance(value, (list, tuple)):
        parts = [pack(item, f"{path}/{index}", tensors) for index, item in enumerate(value)]
        return {TUPLE: parts} if isinstance(value, tuple) else parts
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise TypeError(f"{path}: {type(value).__name__} is no plain state")


def unpack(facts: Any, tensors: Mapping[str, Tensor]) -> Any:
    """Inverse of :func:`pack`.

    Raises:
        KeyError, TypeError, ValueError: facts that :func:`pack` did not make.
    """
    if isinstance(facts, list):
        return [unpack(item, tensors) for item in facts]
    if not isinstance(facts, dict):
        return facts
    ((kind, content),) = facts.items()
    if kind == TENSOR:
        return tensors[content]
    if kind == TUPLE:
        return tuple(unpack(item, tensors) for item in content)
    if kind == ITEMS:
        return {key: unpack(item, tensors) for key, item in content}
    raise ValueError(f"no such kind: {kind}")
