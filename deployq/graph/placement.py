"""Decide where quantizers stand and what they are: the plan of a preparation, no graph edited."""

from __future__ import annotations

from collections import Counter
from collections.abc import Set
from dataclasses import dataclass
from typing import Any

from torch import fx

from deployq.errors import UnsupportedError
from deployq.graph.capture import read_tensor
from deployq.graph.operators import ALLOWED_CALLS, is_movement, onnx_type
from deployq.graph.plan import LayerPlan, Plan, TensorPlan
from deployq.graph.recipe import Recipe
from deployq.graph.rewrites.batch_norm_to_depthwise import is_batch_norm
from deployq.graph.rewrites.rule import argument
from deployq.graph.sites import INFINITY, Site, find_sites, moved_from, non_negative_sites
from deployq.qtypes import QType
from deployq_targets import TargetProfile
from deployq_targets.tensors import FixedOutput
from deployq_targets.words import ReluFusion


@dataclass(frozen=True)
class Placement:
    """A plan and the graph nodes that it speaks of.

    Args:
        plan: the decisions.
        sites: by output node.
        grid_of: site name to the grid (quantizer) that it is on.
    """

    plan: Plan
    sites: dict[fx.Node, Site]
    grid_of: dict[str, TensorPlan]


@dataclass(frozen=True)
class _Wishes:
    """What decides the parameters of a grid, beside its members."""

    module: fx.GraphModule
    profile: TargetProfile
    recipe: Recipe
    non_negative: Set[str]
    outputs: Set[str]


def place(module: fx.GraphModule, profile: TargetProfile, recipe: Recipe) -> Placement:
    """Decide every quantizer of ``module`` for a target.

    A clamp that the grid does not make redundant is a site of its own, unless the target clamps as
    part of every operator.

    Raises:
        UnsupportedError: an operator has no integer form and the profile refuses float ones, or
            two operators want different parameters on one grid.
        ProfileError: the recipe asks for a width that the profile does not have.
    """
    _refuse_movement(module, profile)
    apart: frozenset[fx.Node] = frozenset()
    while True:
        placement = _place(module, profile, recipe, find_sites(module, apart))
        kept = _kept_clamps(placement)
        if not kept or profile.graph.relu_fusion is ReluFusion.ALWAYS:
            return placement
        apart |= kept


def _kept_clamps(placement: Placement) -> frozenset[fx.Node]:
    return frozenset(
        site.clamp
        for site in placement.sites.values()
        if site.clamp is not None and not clamp_is_redundant(site, placement.grid_of[site.name])
    )


def _place(
    module: fx.GraphModule, profile: TargetProfile, recipe: Recipe, sites: dict[fx.Node, Site]
) -> Placement:
    floats = _float_nodes(module, sites, profile)
    wishes = _Wishes(
        module, profile, recipe, non_negative_sites(module, sites), _output_sites(module, sites)
    )
    tensors = tuple(_tensor_plan(group, wishes) for group in _share_grids(module, sites, profile))
    grid_of = {tensor: plan for plan in tensors for tensor in plan.tensors}
    reads = _count_reads(module)
    layers = tuple(
        _layer_plan(site, grid_of[site.name], wishes, reads)
        for site in sites.values()
        if site.kind == "linear"
    )
    return Placement(Plan(profile.name, tensors, layers, floats), sites, grid_of)


def _output_sites(module: fx.GraphModule, sites: dict[fx.Node, Site]) -> set[str]:
    """Names of the sites whose codes the model returns."""
    output = next(node for node in module.graph.nodes if node.op == "output")
    found = (sites.get(moved_from(module, node)) for node in output.all_input_nodes)
    return {site.name for site in found if site is not None}


def _share_grids(
    module: fx.GraphModule, sites: dict[fx.Node, Site], profile: TargetProfile
) -> list[list[Site]]:
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
    return list(grids.values())


def _tensor_plan(members: list[Site], wishes: _Wishes) -> TensorPlan:
    bits = max(_activation_bits(site, wishes) for site in members)
    positive = all(site.name in wishes.non_negative for site in members)
    qtype, zero_point = _grid_type(wishes.profile, bits, positive)
    fixed = _fixed_output(members, qtype, wishes)
    if fixed is not None:
        zero_point = fixed.zero_point
    return TensorPlan(
        members[0].name,
        tuple(site.name for site in members),
        qtype.bits,
        qtype.signed,
        qtype.narrow_range,
        symmetric=zero_point == 0 and qtype.signed,
        zero_point=zero_point,
        scale_limit=None if fixed else _scale_limit(members, qtype, zero_point),
        scale=fixed.scale if fixed else None,
    )


def _activation_bits(site: Site, wishes: _Wishes) -> int:
    """What the target states for the edges of the graph, else the recipe, else the target."""
    profile, edges = wishes.profile, wishes.profile.activation.io
    if site.kind == "input" and edges.first_bits is not None:
        return edges.first_bits
    if site.name in wishes.outputs and edges.last_bits is not None:
        return edges.last_bits
    return wishes.recipe.activation_bits_of(site.name) or profile.default_activation_bits


def _grid_type(profile: TargetProfile, bits: int, positive: bool) -> tuple[QType, int | None]:
    """The preferred type that holds the values, and its pinned zero point (None: free)."""
    candidates = [(t, *profile.activation_zero_points(t)) for t in profile.activation_qtypes(bits)]
    if positive:  # the lowest code stands for 0.0: a ReLU before it is redundant
        for qtype, low, high in candidates:
            if low <= qtype.qmin <= high:
                return qtype, qtype.qmin
    for qtype, low, high in candidates:
        if (low, high) == (qtype.qmin, qtype.qmax):
            return qtype, None
        if low > qtype.qmin or high > low or positive:  # of a part of the codes, that nearest 0
            return qtype, max(low, min(high, 0))
    raise UnsupportedError(
        profile.name,
        "no activation type holds values of both signs",
        found=", ".join(str(qtype) for qtype, *_ in candidates),
        next_step="allow a signed type or another zero point in [activation]",
    )


def _fixed_output(members: list[Site], qtype: QType, wishes: _Wishes) -> FixedOutput | None:
    """Parameters that the target fixes for an operator; all that share its grid must take them."""
    fixed: dict[str, FixedOutput | None] = {}
    for site in members:
        operator = onnx_type(wishes.module, site.core)
        if operator not in wishes.profile.graph.same_qparams:
            fixed[site.name] = wishes.profile.fixed_output(operator, qtype)
    stated = {(f.scale, f.zero_point) if f else None for f in fixed.values()}
    if len(stated) > 1:
        raise UnsupportedError(
            ", ".join(fixed),
            "tensors that share a grid have one scale",
            found=f"a scale that {wishes.profile.name} fixes for some of them",
            allowed="one scale",
            next_step="do not join these tensors in the network",
        )
    return next(iter(fixed.values()), None)


def _scale_limit(members: list[Site], qtype: QType, zero_point: int | None) -> float | None:
    """``high / (qmax - qmin)`` where one upper bound holds for every member and 0.0 is qmin."""
    highs = {site.high for site in members}
    if zero_point != qtype.qmin or len(highs) != 1 or highs == {INFINITY}:
        return None
    return highs.pop() / (qtype.qmax - qtype.qmin)


def clamp_is_redundant(site: Site, grid: TensorPlan) -> bool:
    """True when saturating to the grid does all that the clamp after the site does."""
    low_ok = site.low <= 0.0 and grid.zero_point == grid.qtype.qmin
    return low_ok and (site.high == INFINITY or grid.scale_limit is not None)


def _layer_plan(site: Site, grid: TensorPlan, wishes: _Wishes, reads: Counter[int]) -> LayerPlan:
    profile, module = wishes.profile, wishes.module
    weight = argument(site.core, 1, "weight")
    bits = wishes.recipe.weight_bits_of(site.name) or profile.default_weight_bits
    qtype = profile.weight_qtype(bits)
    if not qtype.signed:
        raise UnsupportedError(
            site.name,
            "weights have signed types",
            found=f"{profile.name} prefers {qtype}",
            next_step="put a signed type of this width first in weight.types",
        )
    activation = "none"
    if site.clamp is not None:
        activation = "removed" if clamp_is_redundant(site, grid) else "kept"
    return LayerPlan(
        site.name,
        onnx_type(module, site.core),
        str(weight.target),
        qtype.bits,
        qtype.signed,
        qtype.narrow_range,
        profile.weight_is_per_channel,
        _batch_norm_mode(site, wishes, reads),
        activation,
        _macs(site.core),
    )


def _count_reads(module: fx.GraphModule) -> Counter[int]:
    """How many calls read each tensor, by identity: one tensor may have several names."""
    counts: Counter[int] = Counter()
    for node in module.graph.nodes:
        sources = [source for source in node.all_input_nodes if source.op == "get_attr"]
        counts.update(id(read_tensor(module, source)) for source in sources)
        if is_batch_norm(module, node):
            norm = module.get_submodule(str(node.target))
            counts.update(map(id, (*norm.parameters(), *norm.buffers())))
    return counts


def _batch_norm_mode(site: Site, wishes: _Wishes, reads: Counter[int]) -> str:
    """Absorb where any per-channel scale can be deployed; what is shared cannot change sign."""
    if site.batch_norm is None:
        return "none"
    norm: Any = wishes.module.get_submodule(str(site.batch_norm.target))
    own = [read_tensor(wishes.module, n) for n in site.core.all_input_nodes if n.op == "get_attr"]
    shared = any(reads[id(tensor)] > 1 for tensor in (*own, norm.weight, norm.running_mean))
    return "absorb" if wishes.profile.any_channel_scale and not shared else "fold"


def _macs(node: fx.Node) -> int:
    """Multiply-accumulates of a linear node for one sample."""
    output, weight = node.meta["val"], argument(node, 1, "weight").meta["val"]
    return int(output.shape[1:].numel() * weight.shape[1:].numel())


def _refuse_movement(module: fx.GraphModule, profile: TargetProfile) -> None:
    for node in module.graph.nodes:
        if node.op == "call_function" and is_movement(module, node):
            operator = onnx_type(module, node)
            if profile.op_status(operator) == "unsupported":
                raise _refusal(str(node.meta["name"]), f"{profile.name} has no {operator}", profile)


def _float_nodes(
    module: fx.GraphModule, sites: dict[fx.Node, Site], profile: TargetProfile
) -> tuple[str, ...]:
    """Lines on the operators that stay in float; those that cannot are refused."""
    lines = []
    for site in sites.values():
        operator = onnx_type(module, site.core)
        status = profile.op_status(operator)
        if site.kind == "input" or (status == "integer" and site.kind != "float"):
            continue
        reason = f"{profile.name} runs {operator} as {status}"
        if site.kind == "float":
            reason = f"{operator} with these operands has no integer form in deployq"
        known = site.core.op == "call_function" and site.core.target in ALLOWED_CALLS
        if status == "unsupported" or profile.graph.unlisted_ops == "refuse" or not known:
            raise _refusal(site.name, reason, profile)
        lines.append(f"{site.name}: float, {reason}")
    return tuple(lines)


def _refusal(name: str, reason: str, profile: TargetProfile) -> UnsupportedError:
    return UnsupportedError(
        name,
        f"every operator must have a form on {profile.name}",
        found=reason,
        allowed="operators with status integer",
        next_step="replace the operator, or add an [[op]] entry with its status",
    )
