"""mean(x, (2, 3)) of (N, C, H, W) becomes flatten(adaptive_avg_pool2d(x, 1), 1).

The integer form of the mean over a map is GlobalAveragePool (law 3). The float sum may be taken in
another order: equal up to float32 rounding.
"""

from __future__ import annotations

import torch
from torch import fx

from deployq.graph.rewrites.rule import Rewrite, argument, calls, replace

aten = torch.ops.aten


def match(module: fx.GraphModule, node: fx.Node) -> bool:
    if not calls(node, aten.mean.dim) or argument(node, 3, "dtype") is not None:
        return False
    dims = argument(node, 1, "dim") or ()
    return node.all_input_nodes[0].meta["val"].ndim == 4 and sorted(d % 4 for d in dims) == [2, 3]


def rewrite(module: fx.GraphModule, node: fx.Node) -> None:
    source, keep_dim = node.args[0], bool(argument(node, 2, "keepdim", False))
    value = node.meta["val"]
    pool = replace(node, aten.adaptive_avg_pool2d.default, (source, [1, 1]))
    if keep_dim:
        return
    pool.meta["val"] = value[:, :, None, None]
    users = list(pool.users)
    with pool.graph.inserting_after(pool):
        flat = pool.graph.call_function(aten.flatten.using_ints, (pool, 1))
    flat.meta = {**pool.meta, "val": value}
    for user in users:
        user.replace_input_with(pool, flat)


RULE = Rewrite("mean to pool", match, rewrite)
