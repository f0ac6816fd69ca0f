"""The first and the last layers of a network, whose weights often stay wider than the others.

At 4 bits and below, 8 bits in the first and the last layer is common practice (Esser et al. 2020,
arXiv 1902.08153): few weights, much accuracy.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import fx

from deployq.graph.operators import aten, is_linear
from deployq.graph.recipe import Recipe
from deployq.graph.rewrites.rule import argument, calls
from deployq_targets import TargetProfile


@dataclass(frozen=True)
class EdgeLayers:
    """Names of the layers at both ends; a network of one layer has it in both.

    Args:
        first: layers with no layer before them, on any path.
        last: layers with no layer behind them, on any path.
    """

    first: frozenset[str]
    last: frozenset[str]


def edge_layers(module: fx.GraphModule) -> EdgeLayers:
    """Find them; layers that stay in float count, so that the second never becomes the first.

    A 1x1 depthwise convolution, one factor a channel (what a BatchNorm of its own or a
    normalization of the input becomes), hides no layer before or behind it.
    """
    nodes = list(module.graph.nodes)
    layers = [node for node in nodes if is_linear(node)]
    behind, before = set[fx.Node](), set[fx.Node]()
    for node in nodes:
        if any(n in behind or _hides(n) for n in node.all_input_nodes):
            behind.add(node)
    for node in reversed(nodes):
        if any(n in before or _hides(n) for n in node.users):
            before.add(node)
    return EdgeLayers(
        frozenset(str(node.meta["name"]) for node in layers if node not in behind),
        frozenset(str(node.meta["name"]) for node in layers if node not in before),
    )


def _hides(node: fx.Node) -> bool:
    return is_linear(node) and not _scales_channels(node)


def _scales_channels(node: fx.Node) -> bool:
    if not calls(node, aten.conv2d.default):
        return False
    shape = argument(node, 1, "weight").meta["val"].shape
    return tuple(shape[1:]) == (1, 1, 1) and argument(node, 6, "groups", 1) == shape[0]


def edge_width(layer: str, edges: EdgeLayers, recipe: Recipe, profile: TargetProfile) -> int | None:
    """Width that recipe or profile states for an edge layer; None for all other layers.

    The recipe wins over the profile; a layer at both ends takes the wider of two.
    """
    stated = [
        profile.weight.edge_bits if asked is None else asked
        for asked, names in ((recipe.first_bits, edges.first), (recipe.last_bits, edges.last))
        if layer in names
    ]
    return max((bits for bits in stated if bits is not None), default=None)
