"""Sites: the places of a float graph where a tensor can get its own integers.

A site is one computing node with what fuses into it, in this order: layer, BatchNorm, a sum where
the target has it in the layer (``joined_sums``), clamp. Movement operators are no sites: their
output is on their input's grid.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass

import torch
from torch import fx

from deployq.graph.masks import is_mask
from deployq.graph.operators import (
    NON_NEGATIVE,
    UNARY,
    aten,
    clamp_bounds,
    computes_rows,
    is_compute,
    is_linear,
    is_movement,
    onnx_type,
)
from deployq.graph.rewrites.batch_norm_to_depthwise import is_batch_norm
from deployq.graph.rewrites.last_axis_softmax import is_softmax
from deployq.graph.rewrites.rule import calls
from deployq.graph.tensors import read_tensor

INFINITY = float("inf")
INTEGER = ("linear", "compute", "unary")
"""Kinds of site that compute on codes."""


@dataclass(frozen=True)
class Site:
    """A computed tensor, and what computes it.

    Args:
        name: of the computing node; names the tensor everywhere.
        kind: ``input``, ``constant``, ``linear``, ``compute``, ``unary`` or ``float``.
        core: the computing node.
        batch_norm, clamp: fused followers, if any.
        low, high: real bounds that the clamp (or the operator) enforces.
        joined, addend: a sum that is part of the layer, and its other operand.
        in_reals: a layer that returns reals: its output has no grid (see ``reals``).
    """

    name: str
    kind: str
    core: fx.Node
    batch_norm: fx.Node | None = None
    clamp: fx.Node | None = None
    low: float = -INFINITY
    high: float = INFINITY
    joined: fx.Node | None = None
    addend: fx.Node | None = None
    in_reals: bool = False

    @property
    def output(self) -> fx.Node:
        """The last fused node."""
        return self.clamp or self.joined or self.batch_norm or self.core

    @property
    def operands(self) -> list[fx.Node]:
        """What it reads, the addend of a sum that it joins among them."""
        return [*self.core.all_input_nodes, *([] if self.addend is None else [self.addend])]


def find_sites(
    module: fx.GraphModule,
    apart: frozenset[fx.Node] = frozenset(),
    keeps_float: Callable[[str], bool] = lambda name: False,
    *,
    on_codes: Collection[str] = (),
) -> dict[fx.Node, Site]:
    """The sites of a captured graph, in graph order, keyed by their output node.

    Args:
        apart: clamps that are sites of their own, fused with nothing.
        keeps_float: whether the layer of this name stays in float.
        on_codes: operators along rows, such as Softmax over the last axis, that compute on codes
            where their operand has some.
    """
    sites: dict[fx.Node, Site] = {}
    fused: set[fx.Node] = set()
    for node in module.graph.nodes:
        if node in fused or node.op == "output":
            continue
        if node.op == "get_attr":
            if _is_operand(module, node):
                sites[node] = Site(str(node.meta["name"]), "constant", node)
            continue
        if not _is_real(node.meta.get("val")) or is_movement(module, node):
            continue
        if _is_row_site(module, node, sites, on_codes):
            low = 0.0 if is_softmax(node) else -INFINITY
            sites[node] = Site(str(node.meta["name"]), "compute", node, low=low)
            continue
        site = _site(module, node, apart, keeps_float)
        fused.update(n for n in (site.batch_norm, site.clamp) if n is not None)
        sites[site.output] = site
    return sites


def _is_real(value: object) -> bool:
    """True for a float tensor: sizes and indices get no grid."""
    return isinstance(value, torch.Tensor) and value.is_floating_point()


def _site(
    module: fx.GraphModule,
    node: fx.Node,
    apart: frozenset[fx.Node],
    keeps_float: Callable[[str], bool],
) -> Site:
    name = str(node.meta["name"])
    if node.op == "placeholder":
        return Site(name, "input", node)
    low = 0.0 if onnx_type(module, node) in NON_NEGATIVE else -INFINITY
    if node.op == "call_function" and node.target in UNARY:
        bounds = clamp_bounds(node) or (low, INFINITY)
        return Site(name, "unary", node, low=bounds[0], high=bounds[1])
    if is_linear(node):
        norm = _only_user(node)
        if norm is None or not is_batch_norm(module, norm):
            norm = None
        kind = "float" if keeps_float(name) else "linear"
        return _with_clamp(name, kind, node, norm, apart)
    if is_compute(node) and _computes(module, node):
        return _with_clamp(name, "compute", node, None, apart)
    site = _with_clamp(name, "float", node, None, apart)
    return site if site.clamp is not None else Site(name, "float", node, low=low)


def on_grids(module: fx.GraphModule, sites: dict[fx.Node, Site]) -> set[str]:
    """Names of the sites that get a grid: all that integer operators make or read."""
    found = set()
    for site in sites.values():
        if site.kind in INTEGER:
            sources = (sites.get(moved_from(module, n)) for n in site.operands)
            found |= {source.name for source in sources if source is not None}
            if not site.in_reals:
                found.add(site.name)
    return found


def _computes(module: fx.GraphModule, node: fx.Node) -> bool:
    """True when an operand is computed, the others are reals as well, and factors have rows and
    columns.
    """
    sources = [moved_from(module, operand) for operand in node.all_input_nodes]
    constants = [read_tensor(module, source) for source in sources if source.op == "get_attr"]
    if calls(node, aten.matmul.default) and any(n.meta["val"].ndim < 2 for n in node.args):  # type: ignore[union-attr] # a product has two tensors
        return False
    fit = all(_fits_a_grid(constant, node) for constant in constants)
    reals = fit and all(_is_real(source.meta.get("val")) for source in sources)
    return reals and any(source.op != "get_attr" for source in sources)


def _fits_a_grid(constant: torch.Tensor, reader: fx.Node) -> bool:
    """False for what is added to scores to say that they do not count."""
    if not constant.is_floating_point() or not constant.isfinite().all():
        return False
    return not (calls(reader, aten.add.Tensor) and is_mask(constant))


def _is_operand(module: fx.GraphModule, node: fx.Node) -> bool:
    """True for a tensor of the model that an operator computes with, beside a computed one."""
    if not _is_real(node.meta.get("val")):
        return False
    return any(is_compute(user) and _computes(module, user) for user in readers(module, node))


def readers(module: fx.GraphModule, node: fx.Node) -> Iterator[fx.Node]:
    """The calls that read a tensor, moved or not."""
    for user in node.users:
        if is_movement(module, user):
            yield from readers(module, user)
        else:
            yield user


def _is_row_site(
    module: fx.GraphModule,
    node: fx.Node,
    sites: dict[fx.Node, Site],
    on_codes: Collection[str],
) -> bool:
    """True where the operand has codes anyway; a masked sum of reals has no range for any."""
    if not computes_rows(node) or onnx_type(module, node) not in on_codes:
        return False
    source = sites.get(moved_from(module, node.all_input_nodes[0]))
    kinds = INTEGER if is_softmax(node) else (*INTEGER, "input")
    return source is not None and source.kind in kinds


def _with_clamp(
    name: str, kind: str, core: fx.Node, norm: fx.Node | None, apart: frozenset[fx.Node]
) -> Site:
    follower = _only_user(norm or core)
    bounds = clamp_bounds(follower) if follower is not None and follower not in apart else None
    if bounds is None:
        return Site(name, kind, core, norm)
    return Site(name, kind, core, norm, follower, *bounds)


def _only_user(node: fx.Node) -> fx.Node | None:
    users = list(node.users)
    return users[0] if len(users) == 1 else None


def moved_from(module: fx.GraphModule, node: fx.Node) -> fx.Node:
    """The node whose codes a movement chain carries; ``node`` itself when it does not move."""
    while is_movement(module, node):
        node = node.all_input_nodes[0]
    return node


def non_negative_sites(module: fx.GraphModule, sites: dict[fx.Node, Site]) -> set[str]:
    """Names of the sites whose values are never below zero."""
    found: set[str] = set()
    for site in sites.values():
        operands = [sites.get(moved_from(module, n)) for n in site.core.all_input_nodes]
        closed = site.kind == "compute" and all(o is not None and o.name in found for o in operands)
        if site.low >= 0 or closed:  # sums, products and means of such values stay such
            found.add(site.name)
    return found
