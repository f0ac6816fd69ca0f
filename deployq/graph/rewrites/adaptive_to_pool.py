"""Pools whose window follows from the size of the map get it written down.

adaptive_avg_pool2d(x, (h, w)) with h, w that divide the map -> avg_pool2d, or x itself
adaptive_max_pool2d(x, (h, w))                               -> max_pool2d

An average over the whole map stays: it is GlobalAveragePool.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import fx

from deployq.graph.rewrites.rule import Rewrite, argument, calls, replace
from deployq.graph.rewrites.values_alone import only_values, values_alone

aten = torch.ops.aten
ADAPTIVE = (aten.adaptive_avg_pool2d.default, aten.adaptive_max_pool2d.default)


def match(module: fx.GraphModule, node: fx.Node) -> bool:
    if not calls(node, *ADAPTIVE) or _rank(node) != 4 or _goal(node) is None:
        return False
    if calls(node, aten.adaptive_max_pool2d.default):
        return only_values(node)
    return _goal(node) != (1, 1)


def _rank(node: fx.Node) -> int:
    return int(node.all_input_nodes[0].meta["val"].ndim)


def _map(node: fx.Node) -> tuple[int, int]:
    height, width = node.all_input_nodes[0].meta["val"].shape[2:]
    return int(height), int(width)


def _goal(node: fx.Node) -> tuple[int, int] | None:
    """Output height and width; None where windows would have several sizes."""
    size: Any = argument(node, 1, "output_size")
    sizes = [size] * 2 if isinstance(size, int) else list(size) * (3 - len(size))
    goal = [have if want is None else want for want, have in zip(sizes, _map(node), strict=True)]
    whole = all(have % want == 0 for want, have in zip(goal, _map(node), strict=True))
    return (goal[0], goal[1]) if whole else None


def rewrite(module: fx.GraphModule, node: fx.Node) -> None:
    goal, size = _goal(node), _map(node)
    assert goal is not None
    window = [have // want for want, have in zip(goal, size, strict=True)]
    average = calls(node, aten.adaptive_avg_pool2d.default)
    if calls(node, aten.adaptive_max_pool2d.default):
        node = values_alone(node)
    if window == [1, 1]:
        node.replace_all_uses_with(node.all_input_nodes[0])
        node.graph.erase_node(node)
        return
    pool = aten.avg_pool2d.default if average else aten.max_pool2d.default
    replace(node, pool, (node.all_input_nodes[0], window, window))


RULE = Rewrite("adaptive pool to pool", match, rewrite)
