"""Operators that run in float on the target or beside it: listed, or refused (law 3)."""

from __future__ import annotations

from collections.abc import Mapping, Set
from operator import getitem
from types import MappingProxyType
from typing import Any

import torch
from torch import fx
from torch.utils import _pytree as pytree

from deployq.errors import UnsupportedError
from deployq.graph.beyond_limits import Fallback
from deployq.graph.operator_rules import group_of
from deployq.graph.operators import ALLOWED_CALLS, aten, is_linear, is_movement, onnx_type
from deployq.graph.recipe import Recipe
from deployq.graph.rewrites.rule import calls
from deployq.graph.sites import Site
from deployq_targets import TargetProfile
from deployq_targets.words import OpStatus, UnlistedOps


def refuse_movement(
    module: fx.GraphModule, profile: TargetProfile, convolved: Set[fx.Node] = frozenset()
) -> None:
    """Refuse movements that a target does not have.

    Args:
        convolved: those that the file has as convolutions.

    Raises:
        UnsupportedError: with the name of the movement.
    """
    for node in module.graph.nodes:
        if node.op == "call_function" and is_movement(module, node) and node not in convolved:
            operator = onnx_type(module, node)
            if profile.op_status(operator) == "unsupported":
                raise _refusal(str(node.meta["name"]), f"{profile.name} has no {operator}", profile)


def float_nodes(
    module: fx.GraphModule,
    sites: Mapping[fx.Node, Site],
    profile: TargetProfile,
    recipe: Recipe,
    fallbacks: Mapping[str, Fallback] = MappingProxyType({}),
) -> tuple[str, ...]:
    """Lines on the operators that run in float; those that cannot are refused.

    Args:
        fallbacks: operators beyond a limit of the target, by name.

    Raises:
        UnsupportedError: the target lacks an operator, or deployq has no integer form for it.
    """
    lines = []
    for site in sites.values():
        if site.kind in ("input", "constant"):
            continue
        if site.name in fallbacks:
            continue
        operator = onnx_type(module, site.core)
        status = profile.op_status(operator, group_of(site))
        if site.kind == "float":
            lines.append(_carried(site, operator, status, profile, recipe))
            continue
        if status is OpStatus.UNSUPPORTED:
            raise _refusal(site.name, f"{profile.name} runs {operator} as {status}", profile)
        if status is not OpStatus.INTEGER:
            lines.append(f"{site.name}: float, {profile.name} runs {operator} as {status}")
    beyond = [f"{found.name}: float, {found.reason}" for found in fallbacks.values()]
    return (*lines, *beyond)


def _carried(
    site: Site, operator: str, status: OpStatus, profile: TargetProfile, recipe: Recipe
) -> str:
    """The line on an operator that is carried in float.

    Raises:
        UnsupportedError: nothing beside the target's integer units could run it.
    """
    if is_linear(site.core) and recipe.keeps_float(site.name):
        reason = "by the recipe"
        possible = profile.runs_floats
    elif status.computes_in_float:
        reason, possible = f"{profile.name} runs {operator} as {status}", True
    elif (
        calls(site.core, aten.add.Tensor)
        and status is OpStatus.INTEGER
        and profile.graph.real_outputs
    ):
        reason, possible = "a sum of reals", True
    else:
        reason = f"deployq has no integer form of {operator} with these operands"
        possible = profile.graph.unlisted_ops is UnlistedOps.FLOAT
    if not _is_known(site.core):
        reason, possible = "deployq does not know it", False
    if possible:
        return f"{site.name}: float, {reason}"
    raise UnsupportedError(
        site.name,
        f"every operator must have a form on {profile.name}",
        found=f"{operator} ({_spoken(site.core)}); {reason}",
        allowed="known operators with an integer form, or with status float or cpu",
        next_step="replace the operator, add an [[op]] entry with its status, or cut it off and "
        "run it beside the exported network",
    )


def _spoken(node: fx.Node) -> str:
    """The call as the program makes it: ``upsample_bicubic2d of [N, 3, 8, 8], with False``."""
    call = node.all_input_nodes[0] if node.target is getitem else node  # one of several
    name = str(call.target).removeprefix("aten.").partition(".")[0]
    values = [n.meta.get("val") for n in call.all_input_nodes]
    shapes = [_shape_text(value.shape) for value in values if isinstance(value, torch.Tensor)]
    given = [value for value in (*call.args, *call.kwargs.values()) if value is not None]
    settings = [str(value) for value in given if not _has_nodes(value)]
    of = f" of {', '.join(shapes)}" if shapes else ""
    more = f", with {', '.join(settings)}" if settings else ""
    return f"{name}{of}{more}"


def _has_nodes(value: Any) -> bool:
    return any(isinstance(leaf, fx.Node) for leaf in pytree.tree_leaves(value))


def _shape_text(shape: torch.Size) -> str:
    sizes = [str(size) if isinstance(size, int) else "N" for size in shape]
    return f"[{', '.join(sizes)}]"


def _is_known(node: fx.Node) -> bool:
    """True for calls that a prepared model may make; modules are those of capture.

    Of casts, those to float32: of a mask of integers or truths.
    """
    if calls(node, aten.to.dtype):
        return node.args[1:] == (torch.float32,) and not node.kwargs
    return node.op == "call_module" or node.target in ALLOWED_CALLS


def _refusal(name: str, reason: str, profile: TargetProfile) -> UnsupportedError:
    return UnsupportedError(
        name,
        f"every operator must have a form on {profile.name}",
        found=reason,
        allowed="operators with status integer",
        next_step="replace the operator, or add an [[op]] entry with its status",
    )
