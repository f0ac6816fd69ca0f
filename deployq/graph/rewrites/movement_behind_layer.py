"""linear(permute(x)) becomes permute(linear(x)): a layer reads the samples first, as x has them.

    linear((N, T, C) -> (T, N, C))    becomes    linear((N, T, C)), then (N, T, D) -> (T, N, D)

Exact: a fully connected layer works along the last axis alone. nn.MultiheadAttention turns tokens
and samples around in front of its layers and back behind them, which then cancels out.
"""

from __future__ import annotations

from dataclasses import replace

from torch import fx

from deployq.graph.rewrites.axes import BATCH, Axes, arranged, movement_chain
from deployq.graph.rewrites.build import aten, build
from deployq.graph.rewrites.rule import Rewrite, calls


def match(module: fx.GraphModule, node: fx.Node) -> bool:
    if not calls(node, aten.linear.default):
        return False
    axes = _axes(node)
    if axes is None:
        return False
    leading = [factor for axis in axes.result[:-1] for factor in axis]
    return BATCH in axes.sizes.values() and leading != _sorted(axes, leading)


def _axes(node: fx.Node) -> Axes | None:
    """What moves in front of the layer."""
    source, chain = movement_chain(node.all_input_nodes[0], shared=True)
    return arranged(source, chain) if chain else None


def _sorted(axes: Axes, factors: list[int]) -> list[int]:
    return sorted(factors, key=axes.origin.index)


def rewrite(module: fx.GraphModule, node: fx.Node) -> None:
    axes = _axes(node)
    assert axes is not None
    moved, _ = movement_chain(node.all_input_nodes[0], shared=True)
    rows, columns = _rows(axes), axes.result[-1]
    for target, args in replace(axes, result=(*rows, columns)).steps():
        moved = build(node, target, moved, args)
    layer = build(node, aten.linear.default, moved, *_read(module, node))
    layer.args = (moved, *node.args[1:])
    output = max(axes.sizes) + 1
    sizes = {**axes.sizes, output: int(layer.meta["val"].shape[-1])}
    behind = Axes(sizes, (*rows, (output,)), (*axes.result[:-1], (output,)))
    moved = layer
    for target, args in behind.steps():
        moved = build(node, target, moved, args)
        moved.meta["part"] = "moved"
    node.replace_all_uses_with(moved)
    node.graph.erase_node(node)


def _read(module: fx.GraphModule, node: fx.Node) -> list[object]:
    """Values of the parameters, for the layer's shape."""
    return [n.meta["val"] if isinstance(n, fx.Node) else n for n in node.args[1:]]


def _rows(axes: Axes) -> tuple[tuple[int, ...], ...]:
    """The batch, and everything else in the source's order as one axis."""
    leading = _sorted(axes, [factor for axis in axes.result[:-1] for factor in axis])
    batch = tuple(f for f in leading if axes.sizes[f] == BATCH)
    rest = tuple(f for f in leading if axes.sizes[f] != BATCH)
    return tuple(axis for axis in (batch, rest) if axis)


RULE = Rewrite("movement behind layer", match, rewrite)
