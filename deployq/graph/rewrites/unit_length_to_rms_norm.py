"""x / max(|x|, eps) along the last axis becomes rms_norm(x) / sqrt(C), one operator in float.

    x / |x| = (x / sqrt(|x|^2 / C)) / sqrt(C)        for rows of C numbers

functional.normalize, which cosine attention calls: a length on a grid would round every row. Equal
up to float32 rounding where a row is much longer than eps (1e-12), else next to 0 as well.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import fx

from deployq.graph.rewrites.build import aten, new_tensor
from deployq.graph.rewrites.rule import Rewrite, argument, calls

SMALL = 1e-6
"""Largest eps that stands for a division by zero alone."""
BOUNDS = (aten.clamp_min.default, aten.clamp.default)


def match(module: fx.GraphModule, node: fx.Node) -> bool:
    return _eps(node) is not None


def _eps(node: fx.Node) -> float | None:
    """The shortest length, where the node is the quotient."""
    if not calls(node, aten.div.Tensor) or node.kwargs:
        return None
    source, length = node.args
    if calls(length, aten.expand_as.default, aten.expand.default):
        length = length.all_input_nodes[0]  # type: ignore[union-attr] # a node: it is a call
    if not calls(length, *BOUNDS):
        return None
    eps, norm = argument(length, 1, "min"), length.args[0]  # type: ignore[union-attr, arg-type]
    fits = _is_length(norm, source) and isinstance(eps, (int, float)) and 0 < eps <= SMALL
    return float(eps) if fits else None


def _is_length(norm: Any, source: Any) -> bool:
    """The root of the sum of squares over the last axis, which stays."""
    if not calls(norm, aten.linalg_vector_norm.default) or norm.args[0] is not source:
        return False
    value = source.meta["val"]
    axes = [axis % value.ndim for axis in argument(norm, 2, "dim") or ()]
    euclidean = argument(norm, 1, "ord", 2) == 2 and argument(norm, 4, "dtype") is None
    keeps = bool(argument(norm, 3, "keepdim", False)) and isinstance(value.shape[-1], int)
    return euclidean and keeps and axes == [value.ndim - 1]


def rewrite(module: fx.GraphModule, node: fx.Node) -> None:
    eps, source = _eps(node), node.all_input_nodes[0]
    assert eps is not None
    width = int(node.meta["val"].shape[-1])
    unit = torch.full((width,), width**-0.5)
    weight = new_tensor(module, node, f"{node.name}_unit", unit, persistent=False)
    with node.graph.inserting_before(node):
        args = (source, [width], weight, eps**2 / width)
        made = node.graph.call_function(aten.rms_norm.default, args)
    made.meta = {**node.meta, "part": "unit_length"}
    node.replace_all_uses_with(made)
    node.graph.erase_node(node)


RULE = Rewrite("unit length to RMS norm", match, rewrite)
