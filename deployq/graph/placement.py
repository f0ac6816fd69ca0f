"""Decide where quantizers stand and what they are: the plan of a preparation, no graph edited."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Set
from dataclasses import dataclass
from typing import Any

from torch import fx

from deployq.errors import ProfileError, UnsupportedError
from deployq.graph.capture import read_tensor
from deployq.graph.operator_rules import (
    Touch,
    Touches,
    accepted_bits,
    accepts_type,
    check_activations,
    find_touches,
    group_of,
    weight_bits,
)
from deployq.graph.operators import is_movement, onnx_type
from deployq.graph.plan import LayerPlan, Plan, TensorPlan
from deployq.graph.recipe import Recipe
from deployq.graph.rewrites.batch_norm_to_depthwise import is_batch_norm
from deployq.graph.rewrites.rule import argument
from deployq.graph.sites import INFINITY, Site, find_sites, moved_from, non_negative_sites
from deployq.qtypes import QType
from deployq_targets import TargetProfile
from deployq_targets.tensors import FixedOutput
from deployq_targets.words import OpStatus, ReluFusion, Sharing


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
    touches: Touches


def place(module: fx.GraphModule, profile: TargetProfile, recipe: Recipe) -> Placement:
    """Decide every quantizer of ``module`` for a target.

    A clamp that the grid does not make redundant is a site of its own, unless the target clamps as
    part of every operator.

    Raises:
        UnsupportedError: an operator has no integer form or the target does not have it, or two
            operators want different parameters on one grid.
        ProfileError: the recipe asks for a width that the profile does not have.
        InputError: a pattern of the recipe names no layer.
    """
    _refuse_movement(module, profile)
    apart: frozenset[fx.Node] = frozenset()
    while True:
        placement = _place(module, profile, recipe, find_sites(module, apart))
        kept = _kept_clamps(placement)
        if not kept or profile.graph.relu_fusion is ReluFusion.ALWAYS:
            names = [layer.name for layer in placement.plan.layers]
            recipe.check_names([site.name for site in placement.sites.values()], names)
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
    touches = find_touches(module, sites, profile)
    outputs = _output_sites(module, sites)
    positive = non_negative_sites(module, sites)
    wishes = _Wishes(module, profile, recipe, positive, outputs, touches)
    tensors = tuple(_tensor_plan(group, wishes) for group in _share_grids(module, sites, profile))
    grid_of = {tensor: plan for plan in tensors for tensor in plan.tensors}
    check_activations(grid_of, touches)
    reads = _count_reads(module)
    layers = tuple(
        _layer_plan(site, grid_of[site.name], wishes, reads)
        for site in sites.values()
        if site.kind == "linear"
    )
    _check_one_width(layers, profile)
    return Placement(Plan(profile.name, tensors, layers, floats), sites, grid_of)


def _check_one_width(layers: tuple[LayerPlan, ...], profile: TargetProfile) -> None:
    widths = sorted({layer.bits for layer in layers})
    if len(widths) > 1 and not profile.weight.bits_per_layer:
        raise ProfileError(
            f"{profile.name}: weight.bits_per_layer",
            "the whole model has one weight width on this target",
            found=", ".join(map(str, widths)),
            allowed="one width",
            next_step="ask for one width in the recipe",
        )


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
    touches = [touch for site in members for touch in wishes.touches[site.name]]
    bits = max(_activation_bits(site, wishes, touches) for site in members)
    positive = all(site.name in wishes.non_negative for site in members)
    qtype, zero_point = _grid_type(wishes.profile, bits, positive, touches)
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


def _activation_bits(site: Site, wishes: _Wishes, touches: list[Touch]) -> int:
    """What the target states for the edges of the graph, else the recipe, else the first width
    that every operator around the grid takes.
    """
    profile, edges = wishes.profile, wishes.profile.activation.io
    if site.kind == "input" and edges.first_bits is not None:
        return edges.first_bits
    if site.name in wishes.outputs and edges.last_bits is not None:
        return edges.last_bits
    wanted = wishes.recipe.activation_bits_of(site.name)
    if wanted is not None:
        return wanted
    return next(iter(accepted_bits(profile, touches)), profile.default_activation_bits)


def _grid_type(
    profile: TargetProfile, bits: int, positive: bool, touches: list[Touch]
) -> tuple[QType, int | None]:
    """The preferred type that holds the values, and its pinned zero point (None: free)."""
    qtypes = profile.activation_qtypes(bits)
    taken = [qtype for qtype in qtypes if accepts_type(touches, qtype.name)]
    candidates = [(t, *profile.activation_zero_points(t)) for t in taken or qtypes]
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
    operator = onnx_type(module, site.core)
    rule = profile.op_rule(operator, group_of(site))
    qtype = profile.weight_qtype(weight_bits(site, rule, wishes.recipe, profile))
    per_channel = _is_per_channel(operator, profile)
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
        operator,
        str(weight.target),
        qtype.bits,
        qtype.signed,
        qtype.narrow_range,
        per_channel,
        _batch_norm_mode(site, per_channel, wishes, reads),
        activation,
        _macs(site.core),
    )


def _is_per_channel(operator: str, profile: TargetProfile) -> bool:
    """True where channels have scales of their own: an operator without an axis has one scale."""
    if not profile.weight_is_per_channel:
        return False
    if operator not in profile.weight.axis and Sharing.TENSOR in profile.weight.granularity:
        return False
    profile.weight_axis(operator, trans_b=True)  # refuses an operator without an axis
    return True


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


def _batch_norm_mode(site: Site, per_channel: bool, wishes: _Wishes, reads: Counter[int]) -> str:
    """Absorb where any per-channel scale can be deployed; what is shared cannot change sign."""
    if site.batch_norm is None:
        return "none"
    norm: Any = wishes.module.get_submodule(str(site.batch_norm.target))
    own = [read_tensor(wishes.module, n) for n in site.core.all_input_nodes if n.op == "get_attr"]
    shared = any(reads[id(tensor)] > 1 for tensor in (*own, norm.weight, norm.running_mean))
    any_scale = per_channel and wishes.profile.any_channel_scale
    return "absorb" if any_scale and not shared else "fold"


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
    module: fx.GraphModule, sites: Mapping[fx.Node, Site], profile: TargetProfile
) -> tuple[str, ...]:
    """Lines on the operators that the target runs in float; those without a form are refused.

    Raises:
        UnsupportedError: the target lacks an operator, or deployq has no integer form for it.
    """
    lines = []
    for site in sites.values():
        if site.kind == "input":
            continue
        operator = onnx_type(module, site.core)
        if site.kind == "float":
            raise _formless(site.name, operator)
        status = profile.op_status(operator, group_of(site))
        if status is OpStatus.UNSUPPORTED:
            raise _refusal(site.name, f"{profile.name} runs {operator} as {status}", profile)
        if status is not OpStatus.INTEGER:
            lines.append(f"{site.name}: float, {profile.name} runs {operator} as {status}")
    return tuple(lines)


def _formless(name: str, operator: str) -> UnsupportedError:
    return UnsupportedError(
        name,
        "deployq has no integer form for it and does not carry float operators between integer "
        "ones yet",
        found=f"{operator} with these operands",
        allowed="operators with an integer form",
        next_step="replace the operator, or cut it off and run it beside the exported network",
    )


def _refusal(name: str, reason: str, profile: TargetProfile) -> UnsupportedError:
    return UnsupportedError(
        name,
        f"every operator must have a form on {profile.name}",
        found=reason,
        allowed="operators with status integer",
        next_step="replace the operator, or add an [[op]] entry with its status",
    )
