"""One fully connected layer that is read in slices becomes one layer for each slice.

    q, k, v = linear(x, W, b)[..., :C], [..., C:2C], [..., 2C:]
        becomes    linear(x, W[:C], b[:C]), linear(x, W[C:2C], b[C:2C]), ...

Queries, keys and values, or a gate and what it opens, then have grids of their own: ranges of each,
and no slices on codes. Exact. The layers' tensors are new ones, numbered by slice, which learn
where the user's do: ``qkv.weight`` becomes ``qkv.0.weight`` and so on, ``in_proj_weight``
``in_proj.0.weight``.
"""

from __future__ import annotations

from typing import Any

from torch import fx

from deployq.graph.rewrites.build import aten, new_tensor
from deployq.graph.rewrites.own_parameters import owns_parameters
from deployq.graph.rewrites.rule import Rewrite, argument, calls
from deployq.graph.tensors import kin, read_tensor

KINDS = ("weight", "bias")


def match(module: fx.GraphModule, node: fx.Node) -> bool:
    if not calls(node, aten.linear.default) or not owns_parameters(module, node):
        return False
    spans = [_span(node, user) for user in node.users]
    if len(spans) < 2 or None in spans:
        return False
    ordered = sorted(span for span in spans if span is not None)
    ends = [0, *(end for _, end in ordered)]
    whole = ends[-1] == node.meta["val"].shape[-1]
    return whole and [start for start, _ in ordered] == ends[:-1]


def _span(layer: fx.Node, user: fx.Node) -> tuple[int, int] | None:
    """Columns that a slice over the last axis takes."""
    if not calls(user, aten.slice.Tensor):
        return None
    rank, size = layer.meta["val"].ndim, int(layer.meta["val"].shape[-1])
    axis, start, end, step = (
        argument(user, i, n, d)
        for i, n, d in ((1, "dim", 0), (2, "start", 0), (3, "end", size), (4, "step", 1))
    )
    if axis % rank != rank - 1 or step != 1:
        return None
    low, high, _ = slice(start, end).indices(size)
    return (low, high) if low < high else None


def rewrite(module: fx.GraphModule, node: fx.Node) -> None:
    spans = {user: span for user in node.users if (span := _span(node, user)) is not None}
    for number, user in enumerate(sorted(spans, key=lambda part: spans[part])):
        span = spans[user]
        operands = [_rows(module, node, read, number, span) for read in node.args[1:]]
        with node.graph.inserting_before(user):
            layer = node.graph.call_function(aten.linear.default, (node.args[0], *operands))
        layer.meta = {**node.meta, "val": user.meta["val"], "part": f"{_stem(node)}{number}"}
        user.replace_all_uses_with(layer)
        node.graph.erase_node(user)
    node.graph.erase_node(node)


def _stem(node: fx.Node) -> str:
    """What stands before the number: ``in_proj.`` of ``in_proj_weight``, nothing of ``weight``."""
    weight: Any = node.args[1]
    leaf = str(weight.target).rpartition(".")[2]
    return f"{leaf.removesuffix('_weight')}." if leaf.endswith("_weight") else ""


def _rows(
    module: fx.GraphModule, node: fx.Node, read: Any, number: int, span: tuple[int, int]
) -> Any:
    """Rows of a tensor, as one of its own."""
    if read is None:
        return None
    tensor = read_tensor(module, read)
    value = kin(tensor.detach()[slice(*span)].clone(), tensor)
    return new_tensor(module, node, _numbered(str(read.target), number), value)


def _numbered(name: str, number: int) -> str:
    """``qkv.0.weight`` of ``qkv.weight``, ``in_proj.0.bias`` of ``in_proj_bias``."""
    path, _, leaf = name.rpartition(".")
    stem, _, kind = leaf.rpartition("_")
    if kind not in KINDS:
        return f"{name}_{number}"
    return ".".join(part for part in (path, stem, str(number), kind) if part)


RULE = Rewrite("split layer", match, rewrite)
