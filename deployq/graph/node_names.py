"""Names of graph nodes that lead back to the user's modules."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from torch import fx


def module_path(node: fx.Node) -> str:
    """Dotted path of the user's module that made the call, '' for the model itself."""
    stack: dict[str, Any] = node.meta.get("nn_module_stack", {})
    return str(list(stack.values())[-1][0]) if stack else ""


def name_nodes(module: fx.GraphModule) -> None:
    """Give every node ``meta["name"]``: the owning module's path, or path and operator.

    A module that makes one call gives its path alone (``layer1.0.conv1``); functional calls gain
    the operator (``layer1.0.add``), as do those of a module that makes several; a second use gains
    a number. Tensors of the model have their own names; what a layer reads and other calls too
    gains a number, for its codes in the layer are others.
    """
    taken: set[str] = set()
    nodes = [node for node in module.graph.nodes if node.op not in ("output", "get_attr")]
    targets: dict[str, set[object]] = {}
    for node in nodes:
        if node.op == "call_function":
            targets.setdefault(module_path(node), set()).add(node.target)
    single = {path for path, found in targets.items() if len(found) == 1}
    for node in nodes:
        node.meta["name"] = _free(_base_name(node, single), taken)
    of_layers = {f"{name}.{kind}" for name in taken for kind in ("weight", "bias")}
    for node in module.graph.nodes:
        if node.op == "get_attr":  # last: a module's name goes to its call
            shared = of_layers if len(node.users) > 1 else set()
            node.meta["name"] = _free(str(node.target), taken | shared)
            taken.add(node.meta["name"])


def _base_name(node: fx.Node, single: Collection[str]) -> str:
    """Before numbers; ``single`` has the paths of modules with one kind of call."""
    if node.op == "placeholder":
        return str(node.target)
    if node.op == "call_module":
        return str(node.target)
    if "part" in node.meta:  # of a call that a rewrite took apart
        return f"{module_path(node)}.{node.meta['part']}".lstrip(".")
    operator = node.target.__name__.split(".")[0]  # type: ignore[union-attr] # an operator overload
    path = module_path(node)
    if path and is_leaf_call(node):
        if path in single:
            return path
        operator = _owner_of_weight(node, path) or operator
    return f"{path}.{operator}" if path else str(operator)


def _owner_of_weight(node: fx.Node, path: str) -> str:
    """``out_proj`` for a call that reads ``<path>.out_proj.weight``, else nothing."""
    reads = (str(n.target) for n in node.all_input_nodes if n.op == "get_attr")
    found = next((read for read in reads if read.endswith(".weight")), "")
    return found.removesuffix(".weight").removeprefix(f"{path}.") if found else ""


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
