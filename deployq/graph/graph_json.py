"""A prepared graph as JSON: ATen calls and module types from allow-lists, no paths, no code."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from torch import fx, nn

from deployq.errors import InputError, UnsafeFileError, UnsupportedError
from deployq.graph.capture import attach
from deployq.graph.fake_quantize import FakeQuantize
from deployq.graph.operators import ALLOWED_CALLS
from deployq.graph.units import QuantizedLinear

CALLS = {str(call): call for call in ALLOWED_CALLS}
"""``aten.conv2d.default`` to the operator."""

MODULES: dict[str, Any] = {
    "FakeQuantize": FakeQuantize.from_config,
    "QuantizedLinear": QuantizedLinear.from_config,
    "Dropout": lambda config: nn.Dropout(config["p"]),
}
"""Module types that a graph may call, and how each is made."""


def graph_to_json(module: fx.GraphModule) -> dict[str, Any]:
    """Nodes and called modules of a prepared graph.

    Raises:
        UnsupportedError: a call that a prepared model on disk may not make.
    """
    nodes = [_node_to_json(node) for node in module.graph.nodes]
    called = {str(n.target) for n in module.graph.nodes if n.op == "call_module"}
    modules = {path: _module_to_json(path, module.get_submodule(path)) for path in sorted(called)}
    return {"nodes": nodes, "modules": modules}


def _node_to_json(node: fx.Node) -> dict[str, Any]:
    target = str(node.target)
    if node.op == "call_function" and target not in CALLS:
        raise UnsupportedError(
            node.name, "a prepared model on disk makes known ATen calls only", found=target,
            next_step="replace the operator in the network",
        )
    return {
        "name": node.name,
        "op": node.op,
        "target": target,
        "args": _to_json(node.args),
        "kwargs": _to_json(dict(node.kwargs)),
        "tensor": node.meta.get("name"),
    }


def _to_json(value: Any) -> Any:
    if isinstance(value, fx.Node):
        return {"node": value.name}
    if isinstance(value, (list, tuple)):
        return [_to_json(item) for item in value]
    if isinstance(value, Mapping):
        return {"map": {key: _to_json(item) for key, item in value.items()}}
    if isinstance(value, float) and not math.isfinite(value):
        return {"float": str(value)}
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise UnsupportedError(
        "graph", "arguments on disk are numbers, text, lists and nodes", found=repr(value)
    )


def _module_to_json(path: str, module: nn.Module) -> dict[str, Any]:
    kind = type(module).__name__
    if isinstance(module, nn.Dropout):
        return {"type": kind, "config": {"p": module.p}}
    if not isinstance(module, (FakeQuantize, QuantizedLinear)):
        raise UnsupportedError(
            path, "a prepared model on disk has known modules only", found=kind,
            allowed=", ".join(MODULES),
        )
    return {"type": kind, "config": module.config()}


def graph_from_json(facts: Mapping[str, Any], root: nn.Module) -> fx.GraphModule:
    """The GraphModule of ``facts`` over the tensors of ``root``.

    Raises:
        UnsafeFileError: a call or module that is not on the allow-lists.
        InputError: the facts do not make a graph.
    """
    for path, module in facts["modules"].items():
        if module["type"] not in MODULES:
            raise UnsafeFileError(
                f"module {path}", "a prepared model has known modules only",
                found=repr(module["type"]), allowed=", ".join(MODULES),
            )
        attach(root, path, MODULES[module["type"]](module["config"]))
    graph, made = fx.Graph(), dict[str, fx.Node]()
    for node in facts["nodes"]:
        made[node["name"]] = _make_node(graph, node, made)
    graph.lint()
    return fx.GraphModule(root, graph, class_name="Prepared")


def _make_node(graph: fx.Graph, facts: Mapping[str, Any], made: dict[str, fx.Node]) -> fx.Node:
    operation, target = facts["op"], facts["target"]
    if operation == "call_function":
        if target not in CALLS:
            raise UnsafeFileError(
                f"node {facts['name']}", "a prepared model makes known ATen calls only",
                found=repr(target), next_step="prepare the model again with this version",
            )
        target = CALLS[target]
    elif operation not in ("placeholder", "get_attr", "call_module", "output"):
        raise UnsafeFileError(
            f"node {facts['name']}", "a prepared graph has known kinds of node only",
            found=repr(operation),
        )
    if not str(facts["name"]).isidentifier():
        raise UnsafeFileError(
            "node", "node names are identifiers", found=repr(facts["name"])[:80]
        )
    args = _from_json(facts["args"], made)
    kwargs = _from_json(facts["kwargs"], made)
    node = graph.create_node(operation, target, tuple(args), kwargs, facts["name"])
    if facts["tensor"] is not None:
        node.meta["name"] = facts["tensor"]
    return node


def _from_json(value: Any, made: Mapping[str, fx.Node]) -> Any:
    if isinstance(value, list):
        return [_from_json(item, made) for item in value]
    if not isinstance(value, dict):
        return value
    if "float" in value:
        return float(value["float"])
    if "map" in value:
        return {key: _from_json(item, made) for key, item in value["map"].items()}
    if value.get("node") not in made:
        raise InputError(
            "graph", "a node reads nodes before it", found=repr(value.get("node"))
        )
    return made[value["node"]]

