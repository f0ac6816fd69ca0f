"""x * rsqrt(mean(x^2) + eps) * w becomes rms_norm(x, w): one operator in float, not seven on grids.

An inverse root has no range that codes could hold; between its operators no codes are wanted.
x / sqrt(...) and a weight of (C,) that follows are part. Equal up to float32 rounding.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import fx

from deployq.graph.rewrites.build import aten
from deployq.graph.rewrites.rule import Rewrite, argument, calls


@dataclass(frozen=True)
class Norm:
    """What the pattern reads.

    Args:
        source: what is normalized over its last axis.
        eps: added to the mean square.
    """

    source: fx.Node
    eps: float


def match(module: fx.GraphModule, node: fx.Node) -> bool:
    return _norm(node) is not None


def _norm(node: fx.Node) -> Norm | None:
    if len(node.args) != 2 or node.kwargs:
        return None
    pairs = [node.args, node.args[::-1]] if calls(node, aten.mul.Tensor) else []
    pairs += [node.args] if calls(node, aten.div.Tensor) else []
    root = aten.rsqrt.default if calls(node, aten.mul.Tensor) else aten.sqrt.default
    for source, inverse in pairs:
        if not isinstance(source, fx.Node) or not calls(inverse, root):
            continue
        eps = _eps(inverse.args[0], source)  # type: ignore[union-attr] # a node: it is a call
        if eps is not None:
            return Norm(source, eps)
    return None


def _eps(total: Any, source: Any) -> float | None:
    """The number in ``mean(source^2) + eps``."""
    if not calls(total, aten.add.Tensor) or total.kwargs:
        return None
    mean, eps = total.args
    if not calls(mean, aten.mean.dim) or not isinstance(eps, (int, float)):
        return None
    rank = int(source.meta["val"].ndim)
    last = [axis % rank for axis in argument(mean, 1, "dim") or ()] == [rank - 1]
    keeps = argument(mean, 2, "keepdim", False) and argument(mean, 3, "dtype") is None
    width = isinstance(source.meta["val"].shape[-1], int)
    return float(eps) if last and keeps and width and _squares(mean.args[0], source) else None


def _squares(node: Any, source: fx.Node) -> bool:
    power = calls(node, aten.pow.Tensor_Scalar) and node.args[1] == 2
    product = calls(node, aten.mul.Tensor) and node.args[0] is node.args[1]
    return (power or product or calls(node, aten.square.default)) and node.args[0] is source


def rewrite(module: fx.GraphModule, node: fx.Node) -> None:
    norm = _norm(node)
    assert norm is not None
    weighted = _weighted(node)
    last, weight = (node, None) if weighted is None else weighted
    width = int(node.meta["val"].shape[-1])
    with node.graph.inserting_before(last):
        args = (norm.source, [width], weight, norm.eps)
        made = node.graph.call_function(aten.rms_norm.default, args)
    made.meta = {**last.meta, "part": "rms_norm"}
    last.replace_all_uses_with(made)
    node.graph.erase_node(last)
    if last is not node:
        node.graph.erase_node(node)


def _weighted(node: fx.Node) -> tuple[fx.Node, fx.Node] | None:
    """The product with a weight that alone reads the normalized values, and the weight."""
    users = list(node.users)
    if len(users) != 1 or not calls(users[0], aten.mul.Tensor) or len(users[0].args) != 2:
        return None
    weight = next((a for a in users[0].args if isinstance(a, fx.Node) and a is not node), None)
    if weight is None or weight.op != "get_attr":
        return None
    fits = tuple(weight.meta["val"].shape) == (node.meta["val"].shape[-1],)
    return (users[0], weight) if fits else None


RULE = Rewrite("square mean to RMS norm", match, rewrite)
