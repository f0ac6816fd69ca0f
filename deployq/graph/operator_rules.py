"""What the ``[[op]]`` entries of a profile allow the tensors of a graph to be."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

from torch import fx

from deployq.errors import ProfileError
from deployq.graph.operators import aten, is_linear, is_movement, onnx_type
from deployq.graph.plan import TensorPlan
from deployq.graph.recipe import Recipe
from deployq.graph.rewrites.rule import argument, calls
from deployq.graph.sites import INTEGER, Site, moved_from
from deployq.qtypes import QType
from deployq_targets import TargetProfile
from deployq_targets.graph import OpRule
from deployq_targets.tensors import ZeroPoint, zero_points
from deployq_targets.words import Group


@dataclass(frozen=True)
class Touch:
    """An operator that makes or reads a tensor, and its entry in the profile.

    Args:
        name: of the operator.
        rule: its entry.
        place: of the tensor among two activations that it multiplies; None of another operator.
    """

    name: str
    rule: OpRule
    place: int | None = None

    @property
    def zero_points(self) -> dict[str, ZeroPoint]:
        """What the entry states of the tensor as a factor, by key."""
        return {} if self.place is None else self.rule.factors(self.place)


Touches: TypeAlias = Mapping[str, list[Touch]]
"""By tensor; only operators that have an entry."""


def group_of(site: Site) -> Group:
    """Which entries speak of a site; everything but a convolution is of any group."""
    return node_group(site.core) if site.kind == "linear" else Group.ANY


def node_group(node: fx.Node) -> Group:
    """The same of a node, whether or not it stays in float."""
    weight = argument(node, 1, "weight") if is_linear(node) else None
    if weight is None or weight.meta["val"].ndim != 4:
        return Group.ANY
    groups = int(argument(node, 6, "groups", 1))
    if groups == 1:
        return Group.DENSE
    shape = weight.meta["val"].shape
    inputs = shape[0] if calls(node, aten.conv_transpose2d.input) else groups * shape[1]
    return Group.DEPTHWISE if groups == inputs else Group.GROUPED


def find_touches(
    module: fx.GraphModule, sites: Mapping[fx.Node, Site], profile: TargetProfile
) -> Touches:
    """Who makes and reads each tensor."""
    touches: dict[str, list[Touch]] = {site.name: [] for site in sites.values()}

    def add(
        name: str, rule: OpRule | None, tensors: list[Site | None], *, factors: bool = False
    ) -> None:
        for place, tensor in enumerate(tensors):
            if tensor is not None and rule is not None:
                touches[tensor.name].append(Touch(name, rule, place if factors else None))

    for site in sites.values():
        if site.kind in INTEGER:
            operator = onnx_type(module, site.core)
            rule = profile.op_rule(operator, group_of(site))
            sources = [sites.get(moved_from(module, n)) for n in site.operands]
            factors = operator == "MatMul" and site.kind == "compute"
            add(site.name, rule, [site])
            add(site.name, rule, sources, factors=factors)
    for node in module.graph.nodes:
        if is_movement(module, node):
            rule = profile.op_rule(onnx_type(module, node))
            add(str(node.meta["name"]), rule, [sites.get(moved_from(module, node))])
    return touches


def accepted_bits(profile: TargetProfile, touches: list[Touch]) -> tuple[int, ...]:
    """The activation widths that all of these operators take, the preferred one first."""
    lists = [touch.rule.act_bits for touch in touches if touch.rule.act_bits is not None]
    return tuple(b for b in profile.activation.bits if all(b in bits for bits in lists))


def accepts_type(touches: list[Touch], name: str) -> bool:
    """True when all of these operators take activations of a type."""
    lists = [touch.rule.act_types for touch in touches if touch.rule.act_types is not None]
    return all(name in types for types in lists)


def accepted_zero_points(
    profile: TargetProfile, touches: list[Touch], qtype: QType
) -> tuple[int, int]:
    """Lowest and highest code that may stand for 0.0 (low > high: none)."""
    ranges = [profile.activation_zero_points(qtype)]
    for touch in touches:
        ranges += [zero_points(stated, qtype) for stated in touch.zero_points.values()]
    return max(low for low, _ in ranges), min(high for _, high in ranges)


def check_activations(grid_of: Mapping[str, TensorPlan], touches: Touches) -> None:
    """Refuse a tensor of a width or type that an operator does not take.

    Raises:
        ProfileError: with the names of operator and tensor.
    """
    for tensor, grid in grid_of.items():
        for touch in touches[tensor]:
            _check_type(touch, tensor, grid)
            _check_factor(touch, tensor, grid)


def _check_type(touch: Touch, tensor: str, grid: TensorPlan) -> None:
    facts = {"act_bits": grid.bits, "act_types": grid.qtype.name}
    for key, found in facts.items():
        allowed = getattr(touch.rule, key)
        if allowed is not None and found not in allowed:
            raise _refusal(touch, key, f"{tensor} of {grid.qtype}", allowed)


def _check_factor(touch: Touch, tensor: str, grid: TensorPlan) -> None:
    """A zero point that is pinned elsewhere; a free one was chosen with the entry."""
    pinned = grid.zero_point
    if pinned is None:
        return
    for key, stated in touch.zero_points.items():
        low, high = zero_points(stated, grid.qtype)
        if not low <= pinned <= high:
            raise _refusal(
                touch, key, f"{tensor} of zero point {pinned}",
                (low,) if low == high else (f"{low}..{high}",),
                step="state one that activation.fixed_output has, or another target",
            )  # fmt: skip


def weight_bits(
    site: Site,
    rule: OpRule | None,
    recipe: Recipe,
    profile: TargetProfile,
    edge: int | None = None,
) -> int:
    """The width of a layer's weights: the recipe's, else the first that its operator takes.

    Args:
        edge: what the layer's place in the network asks; see ``deployq.graph.edge_layers``.

    Raises:
        ProfileError: the recipe asks for a width that the operator does not take.
    """
    wanted = recipe.weight_bits_of(site.name, edge)
    allowed = profile.weight.bits
    if rule is not None and rule.weight_bits is not None:
        allowed = tuple(bits for bits in allowed if bits in rule.weight_bits)
    if wanted is None:
        return allowed[0] if allowed else profile.default_weight_bits
    if rule is not None and wanted in profile.weight.bits and wanted not in allowed:
        raise _refusal(Touch(site.name, rule), "weight_bits", str(wanted), allowed)
    return wanted


def _refusal(
    touch: Touch,
    key: str,
    found: str,
    allowed: tuple[object, ...],
    step: str = "choose an allowed width in the recipe, or another target",
) -> ProfileError:
    return ProfileError(
        touch.name,
        f"{touch.rule.type} has an operand that op.{touch.rule.type}.{key} does not list",
        found=found,
        allowed=", ".join(map(str, allowed)),
        next_step=step,
    )
