"""Operators beyond the limits of their ``[[op]]`` entry: refused, or where the target puts what it
does not take (``graph.unlisted_ops``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import fx

from deployq.errors import UnsupportedError
from deployq.graph.operator_rules import node_group
from deployq.graph.operator_shapes import operator_shape
from deployq.graph.operators import ALLOWED_CALLS, aten, is_linear, onnx_type
from deployq.graph.rewrites.rule import calls
from deployq_targets import TargetProfile
from deployq_targets.graph import OpRule
from deployq_targets.shape_limits import Breach, breach, states_limits
from deployq_targets.words import OpStatus

ELSEWHERE = (OpStatus.CPU, OpStatus.UNSUPPORTED)
"""Where the limits of a target's own units say nothing, or another refusal speaks."""

MATRIX = 2
"""Axes of a product's operand that the file's reader takes for a weight."""


@dataclass(frozen=True)
class Fallback:
    """An operator that leaves the target's integer units, and why.

    Args:
        is_layer: its weights stay in float; what else falls back only carries a line.
    """

    name: str
    reason: str
    is_layer: bool


def find_fallbacks(
    module: fx.GraphModule, profile: TargetProfile, keeps_float: Callable[[str], bool]
) -> Mapping[str, Fallback]:
    """Operators beyond a limit that run in float instead, by name.

    Args:
        keeps_float: whether the recipe leaves this layer in float; the host has no limits.

    Raises:
        UnsupportedError: an operator is beyond a limit, and nothing beside the target's integer
            units takes it.
    """
    found: dict[str, Fallback] = {}
    for node in module.graph.nodes:
        if not _computes(node):
            continue
        name, operator = str(node.meta["name"]), onnx_type(module, node)
        rule = profile.op_rule(operator, node_group(node))
        kept = is_linear(node) and keeps_float(name)
        if rule is None or rule.status in ELSEWHERE or kept:
            continue
        beyond = _product_of_activations(node, profile) or _shape(node, rule)
        if beyond is not None:
            found[name] = _fallback(name, beyond, is_linear(node), profile)
    return found


def float_layers(
    fallbacks: Mapping[str, Fallback], keeps_float: Callable[[str], bool]
) -> Callable[[str], bool]:
    """Whether a layer stays in float, by the recipe or because it is beyond a limit."""
    beyond = {name for name, found in fallbacks.items() if found.is_layer}
    return lambda layer: layer in beyond or keeps_float(layer)


def _computes(node: fx.Node) -> bool:
    value = node.meta.get("val")
    known = node.op == "call_function" and node.target in ALLOWED_CALLS
    return known and isinstance(value, torch.Tensor) and value.is_floating_point()


def _shape(node: fx.Node, rule: OpRule) -> Breach | None:
    return breach(operator_shape(node), rule) if states_limits(rule) else None


def _product_of_activations(node: fx.Node, profile: TargetProfile) -> Breach | None:
    """Attention multiplies two computed tensors; some arrays hold one operand in storage."""
    if not (profile.weight.constant and calls(node, aten.matmul.default, aten.bmm.default)):
        return None
    right = node.args[1]
    if isinstance(right, fx.Node) and right.op == "get_attr" and right.meta["val"].ndim == MATRIX:
        return None  # a weight, as the file's reader has it
    rule = "one operand of a product is a stored weight"
    return Breach("weight.constant", rule, "two computed tensors", "a stored weight")


def _fallback(name: str, beyond: Breach, is_layer: bool, profile: TargetProfile) -> Fallback:
    status = profile.unlisted_status
    if status.computes_in_float:
        reason = (
            f"{beyond.key} = {beyond.found} is beyond {beyond.allowed}: "
            f"{profile.name} runs it as {status}"
        )
        return Fallback(name, reason, is_layer)
    raise UnsupportedError(
        name,
        f"{beyond.key} of {profile.name}: {beyond.rule}",
        found=beyond.found,
        allowed=beyond.allowed,
        next_step="change this operator of the network"
        + (", keep the layer in float" if is_layer and profile.runs_floats else "")
        + ", or choose another target",
    )
