"""avg_pool2d(x) with one window for the whole map becomes the global average of that window.

avg_pool2d(x, (kh, kw)) of 1 by 1    becomes    adaptive_avg_pool2d(x[:, :, :kh, :kw], 1)
"""

from __future__ import annotations

from torch import fx

from deployq.graph.code_operators import pool_geometry
from deployq.graph.rewrites.build import aten, build
from deployq.graph.rewrites.rule import Rewrite, argument, calls, replace


def match(module: fx.GraphModule, node: fx.Node) -> bool:
    if not calls(node, aten.avg_pool2d.default) or argument(node, 6, "divisor_override"):
        return False
    single = tuple(node.meta["val"].shape[2:]) == (1, 1)
    return single and not any(pool_geometry(node).pads) and not argument(node, 4, "ceil_mode")


def rewrite(module: fx.GraphModule, node: fx.Node) -> None:
    source = node.all_input_nodes[0]
    for axis, length in zip((2, 3), pool_geometry(node).kernel, strict=True):
        if source.meta["val"].shape[axis] != length:
            source = build(node, aten.slice.Tensor, source, axis, 0, length)
            source.meta["name"] = f"{node.meta['name']}.window{axis}"
    replace(node, aten.adaptive_avg_pool2d.default, (source, [1, 1]))


RULE = Rewrite("window to global", match, rewrite)
