"""Sums that are part of the layer before them, on targets that add a shortcut before the rounding.

    clamp(layer(x) + q)    is one site, of the layer, with the addend q

The layer has no other reader, no clamp of its own, and the shape of the sum, as the addend has; of
two such layers the later one takes the sum. Dropout may stand between: it does nothing. The entry
of the layer's operator in the profile then speaks of the addend too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from torch import fx

from deployq.graph.operators import aten, is_movement
from deployq.graph.rewrites.rule import calls
from deployq.graph.sites import Site, moved_from

Sites = dict[fx.Node, Site]


def join_sums(module: fx.GraphModule, sites: Mapping[fx.Node, Site]) -> Sites:
    """The sites, with each sum that can be in the site of its layer."""
    found = dict(sites)
    order = {node: number for number, node in enumerate(module.graph.nodes)}
    for output, total in sites.items():
        if total.kind != "compute" or not calls(total.core, aten.add.Tensor):
            continue
        layers = _layers(module, total.core, found)
        if layers:
            layer = max(layers, key=lambda site: order[site.core])
            del found[layer.output]
            found[output] = replace(
                layer, joined=total.core, addend=layers[layer],
                clamp=total.clamp, low=total.low, high=total.high,
            )  # fmt: skip
    return found


def _layers(module: fx.GraphModule, total: fx.Node, sites: Sites) -> dict[Site, fx.Node]:
    """The layers that a sum could join, and what each would add."""
    found, operands = dict[Site, fx.Node](), total.all_input_nodes
    if len(operands) != 2 or operands[0].meta["val"].shape != operands[1].meta["val"].shape:
        return found
    for own, other in (operands, operands[::-1]):
        site = sites.get(_before_dropout(module, own))
        if site is None or moved_from(module, other) not in sites:
            continue
        free = site.kind == "linear" and site.clamp is None and site.joined is None
        if free and _is_read_once(own, site.output):
            found[site] = other
    return found


def _before_dropout(module: fx.GraphModule, node: fx.Node) -> fx.Node:
    while node.op == "call_module" and is_movement(module, node):
        node = node.all_input_nodes[0]
    return node


def _is_read_once(last: fx.Node, first: fx.Node) -> bool:
    """From one node back to another, every one has a single reader."""
    while last is not first:
        if len(last.users) != 1:
            return False
        last = last.all_input_nodes[0]
    return len(first.users) == 1
