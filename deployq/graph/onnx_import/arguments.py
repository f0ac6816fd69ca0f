"""Constant inputs and attributes of nodes as Python numbers; old opsets had them elsewhere."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import Tensor

from deployq.graph.onnx_import.node import OnnxNode, Value


def constant(node: OnnxNode, value: Value, what: str) -> Any:
    """A constant as an array; None where it is left out.

    Raises:
        UnsupportedError: it is computed from activations.
    """
    if isinstance(value, Tensor):
        raise node.refuse(f"{what} is a constant", "a computed tensor", "an initializer")
    return value


def numbers(node: OnnxNode, value: Value, key: str, default: Any = None) -> Any:
    """A list of numbers: the constant input where there is one, else the attribute ``key``."""
    given = constant(node, value, key)
    if given is not None:
        return [d.item() if isinstance(d, np.generic) else d for d in np.ravel(given).tolist()]
    return node.get(key, default)


def number(node: OnnxNode, value: Value, key: str, default: Any = None) -> Any:
    """One number: the constant input where there is one, else the attribute ``key``."""
    given = constant(node, value, key)
    if given is None:
        return node.get(key, default)
    if np.size(given) != 1:
        raise node.refuse(f"{key} is one number", f"shape {np.shape(given)}", "a scalar")
    return np.ravel(given)[0].item()


def expect(
    node: OnnxNode, good: bool, rule: str, found: object, allowed: str, next_step: str = ""
) -> None:
    """Refuse a node unless ``good``.

    Raises:
        UnsupportedError: with the rule and what was found.
    """
    if not good:
        raise node.refuse(rule, found, allowed, *([next_step] if next_step else []))


def expect_map(node: OnnxNode, x: Tensor) -> None:
    """Refuse what is not (N, C, H, W) with the batch first."""
    expect(
        node,
        x.ndim == 4,
        f"{node.op_type} works on maps (N, C, H, W)",
        f"rank {x.ndim}",
        "rank 4",
        "give one-dimensional signals a second dimension of 1, as (N, C, 1, L)"
        if x.ndim == 3
        else "",
    )
