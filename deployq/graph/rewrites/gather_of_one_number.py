"""gather(expand(c), axis, places) becomes expand(c) where all numbers of the constant are equal.

RoBERTa looks up the segment of each token so, in a table of zeros. Exact. A step of
``fold_constants``: what is found does not depend on the inputs' values.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, fx

from deployq.graph.rewrites.build import aten, new_tensor, substitute
from deployq.graph.rewrites.rule import Rewrite, calls
from deployq.graph.tensors import read_tensor


def match(module: fx.GraphModule, node: fx.Node) -> bool:
    table: Any = node.args[0] if calls(node, aten.gather.default) else None
    if not calls(table, aten.expand.default):
        return False
    source = table.args[0]
    if source.op != "get_attr" or _sizes(node) is None:
        return False
    numbers = read_tensor(module, source)
    return numbers.numel() > 0 and bool((numbers == numbers.flatten()[0]).all())


def _sizes(node: fx.Node) -> list[Any] | None:
    """What the result is expanded to; None where a free size is not one of the table's."""
    table: Any = node.args[0]
    made: Tensor = node.meta["val"]
    given, known = table.args[1], table.meta["val"].shape
    sizes: list[Any] = []
    for axis, size in enumerate(made.shape):
        if isinstance(size, int):
            sizes.append(size)
        elif isinstance(given[axis], fx.Node) and _is_one_size(size, known[axis]):
            sizes.append(given[axis])
        else:
            return None
    return sizes


def _is_one_size(size: torch.SymInt, known: Any) -> bool:
    """By their expressions: compared as numbers, free sizes are those of the example."""
    return isinstance(known, torch.SymInt) and size.node.expr == known.node.expr


def rewrite(module: fx.GraphModule, node: fx.Node) -> None:
    table: Any = node.args[0]
    numbers = read_tensor(module, table.args[0])
    first = numbers.flatten()[:1].reshape([1] * numbers.ndim)
    number = new_tensor(module, node, f"{node.name}_number", torch.clone(first))
    with node.graph.inserting_before(node):
        made = node.graph.call_function(aten.expand.default, (number, _sizes(node)))
    substitute(node, made)


RULE = Rewrite("gather of one number", match, rewrite)
