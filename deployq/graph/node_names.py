"""Names of graph nodes that lead back to the user's modules."""

from __future__ import annotations

from typing import Any

from torch import fx


def module_path(node: fx.Node) -> str:
    """Dotted path of the user's module that made the call, '' for the model itself."""
    stack: dict[str, Any] = node.meta.get("nn_module_stack", {})
    return str(list(stack.values())[-1][0]) if stack else ""


def name_nodes(module: fx.GraphModule) -> None:
    """Give every node ``meta["name"]``: the owning module's path, or path and operator.

    A module that makes one call gives its path alone (``layer1.0.conv1``); functional calls gain
    the operator (``layer1.0.add``); a second use gains a number.
    """
    taken: set[str] = set()
    for node in module.graph.nodes:
        if node.op in ("output", "get_attr"):
            continue
        node.meta["name"] = _free(_base_name(node), taken)


def _base_name(node: fx.Node) -> str:
    if node.op == "placeholder":
        return str(node.target)
    if node.op == "call_module":
        return str(node.target)
    if "part" in node.meta:  # of a call that a rewrite took apart
        return f"{module_path(node)}.{node.meta['part']}".lstrip(".")
    operator = node.target.__name__.split(".")[0]  # type: ignore[union-attr] # an operator overload
    path = module_path(node)
    if path and is_leaf_call(node):
        return path
    return f"{path}.{operator}" if path else str(operator)


def is_leaf_call(node: fx.Node) -> bool:
    """True when the innermost module is one of torch.nn's own, which make a single call."""
    stack: dict[str, Any] = node.meta.get("nn_module_stack", {})
    return bool(stack) and str(list(stack.values())[-1][1]).startswith("torch.nn.modules.")


def _free(name: str, taken: set[str]) -> str:
    candidate, number = name, 1
    while candidate in taken:
        candidate, number = f"{name}_{number}", number + 1
    taken.add(candidate)
    return candidate
