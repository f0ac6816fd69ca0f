"""Decide each linear layer: weight type, granularity, what becomes of BatchNorm and clamp."""

from __future__ import annotations

from collections import Counter
from collections.abc import Set
from dataclasses import dataclass
from typing import Any

from torch import fx

from deployq.errors import ProfileError, UnsupportedError
from deployq.graph.edge_layers import EdgeLayers, edge_width
from deployq.graph.operator_rules import (
    Touches,
    group_of,
    weight_bits,
)
from deployq.graph.operators import aten, onnx_type
from deployq.graph.plan import LayerPlan, TensorPlan
from deployq.graph.recipe import Recipe
from deployq.graph.rewrites.batch_norm_to_depthwise import is_batch_norm
from deployq.graph.rewrites.rule import argument, calls
from deployq.graph.sites import INFINITY, Site
from deployq.graph.tensors import read_tensor
from deployq_targets import TargetProfile
from deployq_targets.words import Sharing


@dataclass(frozen=True)
class Wishes:
    """What decides the parameters of a grid, beside its members."""

    module: fx.GraphModule
    profile: TargetProfile
    recipe: Recipe
    non_negative: Set[str]
    outputs: Set[str]
    touches: Touches
    edges: EdgeLayers


def clamp_is_redundant(site: Site, grid: TensorPlan) -> bool:
    """True when saturating to the grid does all that the clamp after the site does."""
    low_ok = site.low <= 0.0 and grid.zero_point == grid.qtype.qmin
    return low_ok and (site.high == INFINITY or grid.scale_limit is not None)


def layer_plan(
    site: Site, grid: TensorPlan | None, wishes: Wishes, reads: Counter[int]
) -> LayerPlan:
    """The decisions on one layer.

    Args:
        grid: of its output; None for a layer that returns reals.
    """
    profile, module = wishes.profile, wishes.module
    weight = argument(site.core, 1, "weight")
    operator = onnx_type(module, site.core)
    rule = profile.op_rule(operator, group_of(site))
    edge = edge_width(site.name, wishes.edges, wishes.recipe, profile)
    qtype = profile.weight_qtype(weight_bits(site, rule, wishes.recipe, profile, edge))
    per_channel = _is_per_channel(site, operator, profile, wishes.recipe)
    if not qtype.signed:
        raise UnsupportedError(
            site.name,
            "weights have signed types",
            found=f"{profile.name} prefers {qtype}",
            next_step="put a signed type of this width first in weight.types",
        )
    activation = "none"
    if site.clamp is not None and grid is not None:
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
        macs_of(site.core),
    )


def _is_per_channel(site: Site, operator: str, profile: TargetProfile, recipe: Recipe) -> bool:
    """True where channels have scales of their own: an operator without an axis has one scale.

    So has a transposed convolution with groups: the axis of (C, O / g, kh, kw) that a scale can lie
    along has the channels of one group, so all groups would share its scales.

    Raises:
        ProfileError: the recipe asks for a granularity that the profile does not have.
        UnsupportedError: the target has no weight with one scale for such a convolution.
    """
    allowed, wanted = profile.weight.granularity, recipe.per_channel_of(site.name)
    asked = Sharing.CHANNEL if wanted else Sharing.TENSOR
    if wanted is not None and asked not in allowed:
        raise ProfileError(
            site.name,
            f"weight scales have a granularity of {profile.name}",
            found=asked,
            allowed=", ".join(allowed),
            next_step="correct per_channel in the recipe",
        )
    if wanted is False or not (wanted or profile.weight_is_per_channel):
        return False
    if operator == "ConvTranspose" and argument(site.core, 6, "groups", 1) > 1:
        if Sharing.TENSOR in profile.weight.granularity:
            return False
        raise UnsupportedError(
            site.name,
            "a transposed convolution with groups has one weight scale",
            found=f"{profile.name} has weight.granularity channel only",
            allowed="groups = 1",
            next_step="use groups = 1, or a target with per-tensor weights",
        )
    if operator not in profile.weight.axis and Sharing.TENSOR in profile.weight.granularity:
        return False
    profile.weight_axis(operator, trans_b=True)  # refuses an operator without an axis
    return True


def count_reads(module: fx.GraphModule) -> Counter[int]:
    """How many calls read each tensor, by identity: one tensor may have several names."""
    counts: Counter[int] = Counter()
    for node in module.graph.nodes:
        sources = [source for source in node.all_input_nodes if source.op == "get_attr"]
        counts.update(id(read_tensor(module, source)) for source in sources)
        if is_batch_norm(module, node):
            norm = module.get_submodule(str(node.target))
            counts.update(map(id, (*norm.parameters(), *norm.buffers())))
    return counts


def _batch_norm_mode(site: Site, per_channel: bool, wishes: Wishes, reads: Counter[int]) -> str:
    """Absorb where any per-channel scale can be deployed; what is shared cannot change sign."""
    if site.batch_norm is None:
        return "none"
    norm: Any = wishes.module.get_submodule(str(site.batch_norm.target))
    own = [read_tensor(wishes.module, n) for n in site.core.all_input_nodes if n.op == "get_attr"]
    shared = any(reads[id(tensor)] > 1 for tensor in (*own, norm.weight, norm.running_mean))
    any_scale = per_channel and _takes_any_scale(
        wishes.profile, onnx_type(wishes.module, site.core)
    )
    return "absorb" if any_scale and not shared else "fold"


def _takes_any_scale(profile: TargetProfile, operator: str) -> bool:
    """True where the requantization of this very operator follows every channel scale."""
    own = profile.model_copy(update={"requant": profile.requant.for_op(operator)})
    return own.any_channel_scale


def macs_of(node: fx.Node) -> int:
    """Multiply-accumulates of a linear node for one sample.

    Each output of a convolution reads a window; each input of a transposed one writes a window.
    """
    weight = argument(node, 1, "weight").meta["val"]
    transposed = calls(node, aten.conv_transpose2d.input)
    counted = node.all_input_nodes[0].meta["val"] if transposed else node.meta["val"]
    return int(counted.shape[1:].numel() * weight.shape[1:].numel())
