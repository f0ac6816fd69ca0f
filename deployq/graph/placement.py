"""Decide where quantizers stand and what they are: the plan of a preparation, no graph edited."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import fx

from deployq_targets import TargetProfile

from deployq.errors import UnsupportedError
from deployq.graph.operators import onnx_type
from deployq.graph.plan import LayerPlan, Plan, TensorPlan
from deployq.graph.recipe import Recipe
from deployq.graph.sites import INFINITY, Site, find_sites, moved_from, non_negative_sites
from deployq.qtypes import QType


@dataclass(frozen=True)
class Placement:
    """A plan and the graph nodes that it speaks of."""

    plan: Plan
    sites: dict[fx.Node, Site]
    grid_of: dict[str, str] = field(default_factory=dict)
    """Site name to the name of the grid (quantizer) it is on."""


def place(module: fx.GraphModule, profile: TargetProfile, recipe: Recipe) -> Placement:
    """Decide every quantizer of ``module`` for a target.

    Raises:
        UnsupportedError: an operator has no integer form and the profile refuses float ones.
        ProfileError: the recipe asks for a width that the profile does not have.
    """
    sites = find_sites(module)
    grids = _share_grids(module, sites, profile)
    non_negative = non_negative_sites(module, sites)
    tensors = tuple(
        _tensor_plan(name, members, profile, recipe, non_negative)
        for name, members in grids.items()
    )
    grid_of = {tensor: plan.name for plan in tensors for tensor in plan.tensors}
    by_name = {plan.name: plan for plan in tensors}
    layers = tuple(
        _layer_plan(module, site, by_name[grid_of[site.name]], profile, recipe)
        for site in sites.values()
        if site.kind == "linear"
    )
    floats = _float_nodes(module, sites, profile)
    return Placement(Plan(profile.name, tensors, layers, floats), sites, grid_of)


def _share_grids(
    module: fx.GraphModule, sites: dict[fx.Node, Site], profile: TargetProfile
) -> dict[str, list[Site]]:
    """Union-find over the sites: operators in ``graph.same_qparams`` join their operands."""
    parent = {site.name: site.name for site in sites.values()}

    def find(name: str) -> str:
        while parent[name] != name:
            name = parent[name]
        return name

    for site in sites.values():
        if onnx_type(module, site.core) not in profile.graph.same_qparams:
            continue
        for operand in site.core.all_input_nodes:
            source = sites.get(moved_from(module, operand))
            if source is not None:
                parent[find(site.name)] = find(source.name)
    grids: dict[str, list[Site]] = {}
    for site in sites.values():
        grids.setdefault(find(site.name), []).append(site)
    return {members[0].name: members for members in grids.values()}


def _tensor_plan(
    name: str,
    members: list[Site],
    profile: TargetProfile,
    recipe: Recipe,
    non_negative: set[str],
) -> TensorPlan:
    asked = [recipe.activation_bits_of(site.name) for site in members]
    bits = max((b for b in asked if b), default=profile.default_activation_bits)
    positive = all(site.name in non_negative for site in members)
    qtype, zero_point = _grid_type(profile, bits, positive)
    limit = _scale_limit(members, qtype, zero_point)
    symmetric = zero_point == 0 and qtype.signed
    names = tuple(site.name for site in members)
    return TensorPlan(name, names, bits, qtype.signed, symmetric, zero_point, limit)


def _grid_type(profile: TargetProfile, bits: int, positive: bool) -> tuple[QType, int | None]:
    """The preferred type that holds the values, and its pinned zero point (None: free)."""
    candidates = [(t, *profile.activation_zero_points(t)) for t in profile.activation_qtypes(bits)]
    if positive:  # the lowest code stands for 0.0: a ReLU before it is redundant
        for qtype, low, high in candidates:
            if low <= qtype.qmin <= high:
                return qtype, qtype.qmin
    for qtype, low, high in candidates:
        if low < high:
            return qtype, None
        if low > qtype.qmin or positive:
            return qtype, low
    raise UnsupportedError(
        profile.name, "no activation type holds values of both signs",
        found=", ".join(str(qtype) for qtype, *_ in candidates),
        next_step="allow a signed type or another zero point in [activation]",
    )


def _scale_limit(members: list[Site], qtype: QType, zero_point: int | None) -> float | None:
    """``high / (qmax - zero_point)`` where one upper bound holds for every member."""
    highs = {site.high for site in members}
    if zero_point is None or len(highs) != 1 or highs == {INFINITY}:
        return None
    limit = torch.tensor(highs.pop() / (qtype.qmax - zero_point), dtype=torch.float32)
    return float(limit)


def clamp_is_redundant(site: Site, grid: TensorPlan) -> bool:
    """True when saturating to the grid does all that the clamp after the site does."""
    low_ok = site.low == -INFINITY or (site.low == 0.0 and grid.zero_point == grid.qtype.qmin)
    return low_ok and (site.high == INFINITY or grid.scale_limit is not None)


def _layer_plan(
    module: fx.GraphModule, site: Site, grid: TensorPlan, profile: TargetProfile, recipe: Recipe
) -> LayerPlan:
    weight = site.core.args[1]
    assert isinstance(weight, fx.Node)
    asked = recipe.weight_bits_of(site.name)
    qtype = profile.weight_qtype(profile.default_weight_bits if asked is None else asked)
    activation = "none"
    if site.clamp is not None:
        activation = "removed" if clamp_is_redundant(site, grid) else "kept"
    return LayerPlan(
        site.name, onnx_type(module, site.core), str(weight.target), qtype.bits, qtype.signed,
        qtype.narrow_range, profile.weight_is_per_channel, _batch_norm_mode(module, site, profile),
        activation, _macs(site.core),
    )  # fmt: skip


def _batch_norm_mode(module: fx.GraphModule, site: Site, profile: TargetProfile) -> str:
    """Absorb where any per-channel scale can be deployed; a shared weight cannot change sign."""
    if site.batch_norm is None:
        return "none"
    weight = site.core.args[1]
    assert isinstance(weight, fx.Node)
    shared = len(weight.users) > 1
    return "absorb" if profile.any_channel_scale and not shared else "fold"


def _macs(node: fx.Node) -> int:
    """Multiply-accumulates of a linear node for one sample."""
    output, weight = node.meta["val"], node.args[1].meta["val"]  # type: ignore[union-attr] # a node
    return int(output.shape[1:].numel() * weight.shape[1:].numel())


def _float_nodes(
    module: fx.GraphModule, sites: dict[fx.Node, Site], profile: TargetProfile
) -> tuple[str, ...]:
    lines = []
    for site in sites.values():
        operator = onnx_type(module, site.core)
        if site.kind == "input":
            continue
        status = profile.op_status(operator)
        reason = f"{profile.name} runs {operator} as {status}"
        if site.kind == "float":
            reason = f"{operator} has no integer form in deployq"
        if status == "integer" and site.kind != "float":
            continue
        if status == "unsupported" or profile.graph.unlisted_ops == "refuse":
            raise UnsupportedError(
                site.name, f"every operator must run in integers on {profile.name}",
                found=reason, allowed="operators with status integer",
                next_step="replace the operator, or add an [[op]] entry with its status",
            )
        lines.append(f"{site.name}: float, {reason}")
    return tuple(lines)


