"""Decide where quantizers stand and what they are: the plan of a preparation, no graph edited."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass

from torch import fx

from deployq.arithmetic.contract import Kind
from deployq.arithmetic.row_operators import ROW_OPERATORS, in_integers
from deployq.errors import ProfileError, UnsupportedError
from deployq.graph.beyond_limits import ELSEWHERE, Fallback, find_fallbacks, float_layers
from deployq.graph.edge_layers import edge_layers
from deployq.graph.float_nodes import float_nodes, refuse_movement
from deployq.graph.joined_sums import join_sums
from deployq.graph.layer_limits import check_layers
from deployq.graph.layer_placement import (
    Wishes,
    clamp_is_redundant,
    count_reads,
    layer_plan,
    macs_of,
)
from deployq.graph.operator_rules import (
    Touch,
    accepted_bits,
    accepted_zero_points,
    accepts_type,
    check_activations,
    find_touches,
)
from deployq.graph.operators import is_linear, onnx_type
from deployq.graph.pixel_inputs import PixelInputs
from deployq.graph.plan import LayerPlan, Plan, TensorPlan
from deployq.graph.ranks import check_ranks
from deployq.graph.reals import keep_in_reals
from deployq.graph.recipe import Recipe
from deployq.graph.row_lengths import rows_in_float
from deployq.graph.selections import Selection, find_selections, selection_plan
from deployq.graph.sites import (
    INFINITY,
    Site,
    find_sites,
    moved_from,
    non_negative_sites,
    on_grids,
)
from deployq.qtypes import QType
from deployq_targets import TargetProfile
from deployq_targets.tensors import FixedOutput
from deployq_targets.words import OpStatus, ReluFusion, ScaleForm

SOFTMAX_KINDS = (Kind.EXACT, Kind.FLOAT32)
"""Fixed-point forms of Softmax differ from chip to chip: a profile states the one that is carried.
"""


@dataclass(frozen=True)
class Placement:
    """A plan and the graph nodes that it speaks of.

    Args:
        plan: the decisions.
        sites: by output node.
        grid_of: site name to the grid (quantizer) that it is on; what only float operators
            make and read is on none.
    """

    plan: Plan
    sites: dict[fx.Node, Site]
    grid_of: dict[str, TensorPlan]


def place(module: fx.GraphModule, profile: TargetProfile, recipe: Recipe) -> Placement:
    """Decide every quantizer of ``module`` for a target.

    A clamp that the grid does not make redundant is a site of its own, unless the target clamps as
    part of every operator.

    Raises:
        UnsupportedError: an operator has no integer form, the target does not have it or takes
            no such shape of it, or two operators want different parameters on one grid.
        ProfileError: the recipe asks for a width that the profile does not have.
        InputError: a pattern of the recipe names no layer.
    """
    selections = find_selections(module, profile)
    refuse_movement(module, profile, {node for found in selections for node in found.nodes})
    check_ranks(module, profile)
    fallbacks = find_fallbacks(module, profile, recipe.keeps_float)
    in_float = float_layers(fallbacks, recipe.keeps_float)
    apart: frozenset[fx.Node] = frozenset()
    while True:
        sites = find_sites(module, apart, in_float, on_codes=_rows_on_codes(profile))
        sites = keep_in_reals(module, sites, profile)
        if profile.graph.joins_sums and profile.op_status("Add") not in ELSEWHERE:
            sites = join_sums(module, sites)
        placement = _place(module, profile, recipe, sites, fallbacks, selections)
        kept = _kept_clamps(placement)
        if not kept or profile.graph.relu_fusion is ReluFusion.ALWAYS:
            layers = [site.name for site in sites.values() if is_linear(site.core)]
            recipe.check_names([site.name for site in sites.values()], layers)
            return placement
        apart |= kept


def _rows_on_codes(profile: TargetProfile) -> frozenset[str]:
    """The operators along rows that a target has on codes, in an arithmetic that is carried."""
    contract = profile.contract()
    integer = [op for op in ROW_OPERATORS if profile.op_status(op) is OpStatus.INTEGER]
    return frozenset(
        op
        for op in integer
        if in_integers(op, contract.form(op))
        or (op == "Softmax" and contract.form(op).kind in SOFTMAX_KINDS)
    )


def _kept_clamps(placement: Placement) -> frozenset[fx.Node]:
    return frozenset(
        site.clamp
        for site in placement.sites.values()
        if site.clamp is not None
        and site.name in placement.grid_of
        and not clamp_is_redundant(site, placement.grid_of[site.name])
    )


def _place(
    module: fx.GraphModule,
    profile: TargetProfile,
    recipe: Recipe,
    sites: dict[fx.Node, Site],
    fallbacks: Mapping[str, Fallback],
    selections: Sequence[Selection],
) -> Placement:
    floats = float_nodes(module, sites, profile, recipe, fallbacks)
    check_layers(module, sites, profile)
    floats += rows_in_float(sites.values(), profile)
    gridded = on_grids(module, sites)
    touches = find_touches(module, sites, profile)
    outputs = _output_sites(module, sites)
    positive = non_negative_sites(module, sites)
    wishes = Wishes(module, profile, recipe, positive, outputs, touches, edge_layers(module))
    groups = _share_grids(module, sites, gridded, profile)
    pixels = PixelInputs(recipe.images)
    tensors = tuple(_tensor_plan(group, wishes, pixels) for group in groups)
    pixels.check([site.name for site in sites.values() if site.kind == "input"])
    grid_of = {tensor: plan for plan in tensors for tensor in plan.tensors}
    check_activations(grid_of, touches)
    reads = count_reads(module)
    layers = tuple(
        layer_plan(site, grid_of.get(site.name), wishes, reads)
        for site in sites.values()
        if site.kind == "linear"
    )
    _check_one_width(layers, profile)
    left = {
        s.name: macs_of(s.core) for s in sites.values() if s.kind == "float" and is_linear(s.core)
    }
    used = layers[0].bits if layers and not profile.weight.bits_per_layer else None
    convolved = tuple(selection_plan(module, found, profile, used) for found in selections)
    notes = tuple(pixels.notes.values())
    plan = Plan(profile.name, tensors, layers, floats, left, notes, convolved)
    return Placement(plan, sites, grid_of)


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
    module: fx.GraphModule,
    sites: dict[fx.Node, Site],
    gridded: Set[str],
    profile: TargetProfile,
) -> list[list[Site]]:
    """Union-find over the sites on grids: ``graph.same_qparams`` operators join their operands."""
    members = [site for site in sites.values() if site.name in gridded]
    parent = {site.name: site.name for site in members}

    def find(name: str) -> str:
        while parent[name] != name:
            name = parent[name]
        return name

    for site in members:
        if onnx_type(module, site.core) not in profile.graph.same_qparams:
            continue
        for operand in site.core.all_input_nodes:
            source = sites.get(moved_from(module, operand))
            if source is not None and source.name in gridded:
                parent[find(site.name)] = find(source.name)
    grids: dict[str, list[Site]] = {}
    for site in members:
        grids.setdefault(find(site.name), []).append(site)
    return list(grids.values())


def _tensor_plan(members: list[Site], wishes: Wishes, pixels: PixelInputs) -> TensorPlan:
    touches = [touch for site in members for touch in wishes.touches[site.name]]
    bits = max(_activation_bits(site, wishes, touches) for site in members)
    positive = all(site.name in wishes.non_negative for site in members)
    qtype, zero_point = _grid_type(wishes.profile, bits, positive, touches)
    fixed = _fixed_output(members, qtype, wishes)
    taken = accepted_zero_points(wishes.profile, touches, qtype)
    fixed = fixed or pixels.pinned(wishes.module, members, qtype, wishes.profile, taken)
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
        scale_limit=None if fixed else _scale_limit(members, qtype, zero_point, wishes),
        scale=fixed.scale if fixed else None,
        constants=tuple(site.name for site in members if site.kind == "constant"),
    )


def _activation_bits(site: Site, wishes: Wishes, touches: list[Touch]) -> int:
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
    ranges = [(t, *accepted_zero_points(profile, touches, t)) for t in taken or qtypes]
    candidates = [(t, low, high) for t, low, high in ranges if low <= high]
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
        found=", ".join(str(qtype) for qtype in taken or qtypes),
        next_step="allow a signed type or another zero point in [activation]",
    )


def _fixed_output(members: list[Site], qtype: QType, wishes: Wishes) -> FixedOutput | None:
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
            next_step=f"where the chip rescales what it joins, a profile that extends "
            f"{wishes.profile.name} states graph.same_qparams without Concat; or do not join these",
        )
    return next(iter(fixed.values()), None)


def _scale_limit(
    members: list[Site], qtype: QType, zero_point: int | None, wishes: Wishes
) -> float | None:
    """``high / (qmax - qmin)`` where one upper bound holds for every member and 0.0 is qmin."""
    highs = {site.high for site in members}
    if wishes.profile.activation.scale_form is not ScaleForm.ANY:
        return None  # the next power of two below the limit would clip up to half of the range
    if zero_point != qtype.qmin or len(highs) != 1 or highs == {INFINITY}:
        return None
    return highs.pop() / (qtype.qmax - qtype.qmin)
