"""What to do about the worst layers: only what the target has and the recipe can say."""

from __future__ import annotations

import glob
import json
import shlex
from collections.abc import Iterable, Sequence

from deployq.graph.plan import LayerPlan, TensorPlan
from deployq.graph.preparation import PreparedModel
from deployq_calibration.sensitivity import Cost, Sensitivity
from deployq_targets import TargetProfile

MOST = 3
"""Tensors that advice speaks of."""

NEAR_DB = 3.0
"""Advice speaks of costs whose noise is at least half of the worst one's."""


def advice(prepared: PreparedModel, sensitivity: Sensitivity) -> tuple[str, ...]:
    """One line for each of the worst costs; empty where nothing costs anything."""
    costs = sensitivity.costs
    if not costs or costs[0].sqnr_db == float("inf"):
        return ()
    near = [cost for cost in costs if cost.sqnr_db <= costs[0].sqnr_db + NEAR_DB]
    return tuple(_line(prepared, cost) for cost in near[:MOST])


def _line(prepared: PreparedModel, cost: Cost) -> str:
    ways = [*_wider(prepared, cost), *_in_float(prepared, cost)]
    if not ways:
        ways = [
            f"{prepared.profile.name} has nothing wider for it: another observer, or training "
            "on the grid"
        ]
    return f"{cost.name} ({cost.kind}): {', or '.join(ways)}"


def _wider(prepared: PreparedModel, cost: Cost) -> list[str]:
    """The next width, as ``deployq.toml`` writes it."""
    profile, plan = prepared.profile, prepared.plan
    if cost.kind == "weight":
        layer = next(layer for layer in plan.layers if layer.name == cost.name)
        widths = _weight_widths(profile, layer, len(plan.layers))
    else:
        grid = next(grid for grid in plan.tensors if grid.name == cost.name)
        widths = _activation_widths(profile, grid, prepared)
    wider = [bits for bits in sorted(widths) if bits > cost.bits]
    key = f"layers.{json.dumps(glob.escape(cost.name))}.{cost.kind}_bits"
    return [f"{key} = {wider[0]} in deployq.toml"] if wider else []


def _weight_widths(profile: TargetProfile, layer: LayerPlan, layers: int) -> list[int]:
    if layers > 1 and not profile.weight.bits_per_layer:
        return []
    rules = [rule.weight_bits for rule in profile.op if rule.type == layer.op_type]
    return _taken(profile.weight.bits, rules)


def _activation_widths(
    profile: TargetProfile, grid: TensorPlan, prepared: PreparedModel
) -> list[int]:
    """Widths that every operator takes; none where the target states the edge's own."""
    edges = profile.activation.io
    pinned = edges.first_bits is not None and any(name in prepared.inputs for name in grid.tensors)
    if pinned or edges.last_bits is not None or grid.scale is not None:
        return []
    return _taken(profile.activation.bits, [rule.act_bits for rule in profile.op])


def _taken(widths: Sequence[int], lists: Iterable[Sequence[int] | None]) -> list[int]:
    stated = [found for found in lists if found is not None]
    return [bits for bits in widths if all(bits in found for found in stated)]


def _in_float(prepared: PreparedModel, cost: Cost) -> list[str]:
    """Only linear layers stay in float by the recipe, where something computes in float."""
    layers = {layer.name for layer in prepared.plan.layers}
    if cost.name not in layers or not prepared.profile.runs_floats:
        return []
    return [f"--keep-float {shlex.quote(glob.escape(cost.name))}"]
