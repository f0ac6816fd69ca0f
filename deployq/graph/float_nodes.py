"""Operators that the target, or deployq, does not run in integers: listed or refused (law 3)."""

from __future__ import annotations

from collections.abc import Mapping

from torch import fx

from deployq.errors import UnsupportedError
from deployq.graph.operator_rules import (
    group_of,
)
from deployq.graph.operators import is_movement, onnx_type
from deployq.graph.sites import Site
from deployq_targets import TargetProfile
from deployq_targets.words import OpStatus


def refuse_movement(module: fx.GraphModule, profile: TargetProfile) -> None:
    for node in module.graph.nodes:
        if node.op == "call_function" and is_movement(module, node):
            operator = onnx_type(module, node)
            if profile.op_status(operator) == "unsupported":
                raise _refusal(str(node.meta["name"]), f"{profile.name} has no {operator}", profile)


def float_nodes(
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
