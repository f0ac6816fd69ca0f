"""A pool of rows becomes a pool of maps of one row, which has an integer form.

pool1d((N, C, L), k)    becomes    squeeze(pool2d((N, C, 1, L), (1, k)), 2)
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from torch import fx

from deployq.graph.rewrites.build import aten, build, substitute
from deployq.graph.rewrites.rule import Rewrite, calls

POOLS: Mapping[Any, Any] = MappingProxyType(
    {
        aten.max_pool1d.default: aten.max_pool2d.default,
        aten.avg_pool1d.default: aten.avg_pool2d.default,
        aten.adaptive_avg_pool1d.default: aten.adaptive_avg_pool2d.default,
    }
)
BESIDE = (1, 1, 0, 1)
"""What a row has beside the columns: kernel or size, stride, padding, dilation."""


def match(module: fx.GraphModule, node: fx.Node) -> bool:
    return calls(node, *POOLS) and not node.kwargs and node.args[0].meta["val"].ndim == 3  # type: ignore[union-attr] # of a pool


def rewrite(module: fx.GraphModule, node: fx.Node) -> None:
    maps = build(node, aten.unsqueeze.default, node.all_input_nodes[0], 2)
    maps.meta["part"] = "maps"
    numbers = [
        [beside, *number] if isinstance(number, list) and number else number
        for number, beside in zip(node.args[1:], BESIDE, strict=False)
    ]
    flags = node.args[1 + len(numbers) :]
    pool = build(node, POOLS[node.target], maps, *numbers, *flags)
    row = build(node, aten.squeeze.dim, pool, 2)
    substitute(node, row)
    row.meta["part"] = "row"


RULE = Rewrite("pool1d to pool2d", match, rewrite)
