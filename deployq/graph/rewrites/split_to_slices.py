"""split, chunk, tensor_split and unbind become a slice for each part (unbind: and a squeeze).

A slice has one input and one output, so every later step knows it already; the parts are the same.
The axis has a known size: torch.export gives no split of a dynamic one.
"""

from __future__ import annotations

import operator

from torch import fx

from deployq.graph.rewrites.build import aten, build, substitute
from deployq.graph.rewrites.rule import Rewrite, argument, calls

SPLITS = (
    aten.split.Tensor,
    aten.split.sizes,
    aten.split_with_sizes.default,
    aten.chunk.default,
    aten.tensor_split.sections,
    aten.tensor_split.indices,
)


def match(module: fx.GraphModule, node: fx.Node) -> bool:
    return calls(node, operator.getitem) and calls(node.args[0], *SPLITS, aten.unbind.int)


def rewrite(module: fx.GraphModule, node: fx.Node) -> None:
    parts, index = node.args[0], node.args[1]
    assert isinstance(parts, fx.Node) and isinstance(index, int)
    source, unbinds = parts.all_input_nodes[0], calls(parts, aten.unbind.int)
    axis = argument(parts, 1 if unbinds else 2, "dim", 0) % source.meta["val"].ndim
    lengths = [1 if unbinds else part.shape[axis] for part in parts.meta["val"]]
    index %= len(lengths)
    start = sum(lengths[:index])
    part = build(node, aten.slice.Tensor, source, axis, start, start + lengths[index])
    if unbinds:
        part = build(node, aten.squeeze.dim, part, axis)
    substitute(node, part)


RULE = Rewrite("split to slices", match, rewrite)
