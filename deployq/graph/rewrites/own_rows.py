"""What each sample picks of its own row becomes picks along that row.

    index((N, T), [arange(N) as (N, 1, 1), columns (1, R, K)])
        becomes    index_select(x, 1, columns).reshape(N, R, K)

So the package ``transformers`` reads an attention mask. Columns that are all of the row, in order,
are no picks.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import fx

from deployq.graph.rewrites.build import aten, build, pick_rows, substitute
from deployq.graph.rewrites.rule import Rewrite, calls
from deployq.graph.tensors import read_tensor

SHAPED = (
    aten.view.default, aten.reshape.default, aten.unsqueeze.default, aten.slice.Tensor,
)  # fmt: skip
"""Of N numbers N are left: a slice among them takes all."""


def match(module: fx.GraphModule, node: fx.Node) -> bool:
    if not calls(node, aten.index.Tensor):
        return False
    source: Any = node.args[0]
    indices: Any = node.args[1]
    if source.meta["val"].ndim != 2 or len(indices) != 2:
        return False
    rows, columns = indices
    return (
        isinstance(columns, fx.Node)
        and columns.op == "get_attr"
        and columns.meta["val"].dtype == torch.int64
        and isinstance(rows, fx.Node)
        and _numbers_samples(rows, source.meta["val"].shape[0])
        and _is_single(columns, rows.meta["val"].ndim)
    )


def _numbers_samples(node: fx.Node, samples: int | torch.SymInt) -> bool:
    """0 to N - 1 along the first axis, the others of one element."""
    shape = node.meta["val"].shape
    if isinstance(samples, int) or shape[0] != samples or any(size != 1 for size in shape[1:]):
        return False
    while calls(node, *SHAPED):
        node = node.all_input_nodes[0]
    return calls(node, aten.arange.default)


def _is_single(columns: fx.Node, rank: int) -> bool:
    """The same for every sample."""
    shape = columns.meta["val"].shape
    return len(shape) < rank or (len(shape) == rank and shape[0] == 1)


def rewrite(module: fx.GraphModule, node: fx.Node) -> None:
    source: Any = node.args[0]
    indices: Any = node.args[1]
    length = source.meta["val"].shape[1]
    picked = read_tensor(module, indices[1]).flatten() % length  # from behind, too
    chosen = source
    if not torch.equal(picked, torch.arange(length)):
        chosen = pick_rows(module, node, source, 1, picked, f"{node.name}_columns")
    shape = [-1, *node.meta["val"].shape[1:]]
    substitute(node, build(node, aten.reshape.default, chosen, shape))


RULE = Rewrite("own rows", match, rewrite)
