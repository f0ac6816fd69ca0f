"""A prepared graph as JSON: ATen calls and module types from allow-lists, no paths, no code.

torch.fx turns a graph into Python source and executes it. Names of nodes and inputs, paths of
tensors and modules and keywords become part of that source as they stand, so each has a rule here;
other text goes through ``repr``.
"""

from __future__ import annotations

import keyword
import math
import re
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import fx, nn

from deployq.errors import InputError, UnsafeFileError, UnsupportedError
from deployq.graph.fake_quantize import FakeQuantize
from deployq.graph.operators import ALLOWED_CALLS
from deployq.graph.rewrites.batch_norm_to_depthwise import NORMS
from deployq.graph.tensors import attach
from deployq.graph.units import QuantizedLinear

CALLS = {str(call): call for call in ALLOWED_CALLS}
"""``aten.conv2d.default`` to the operator."""


def _batch_norm(kind: Any) -> Callable[[Mapping[str, Any]], nn.Module]:
    def make(config: Mapping[str, Any]) -> nn.Module:
        module: nn.Module = kind(
            config["channels"], config["eps"], config["momentum"], affine=config["affine"]
        )
        return module

    return make


MODULES: dict[str, Any] = {
    "FakeQuantize": FakeQuantize.from_config,
    "QuantizedLinear": QuantizedLinear.from_config,
    "Dropout": lambda config: nn.Dropout(config["p"]),
    **{kind.__name__: _batch_norm(kind) for kind in NORMS},
}
"""Module types that a graph may call, and how each is made."""

TYPES = {
    "float32": torch.float32,
    "bool": torch.bool,
    "int32": torch.int32,
    "int64": torch.int64,
}
"""What a cast may name: of a mask of integers or truths, and of positions counted in one."""

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,199}", re.ASCII)
_PATH = re.compile(r"[A-Za-z0-9_]{1,200}(\.[A-Za-z0-9_]{1,200}){0,49}", re.ASCII)


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
            node.name,
            "a prepared model on disk makes known ATen calls only",
            found=target,
            next_step="replace the operator in the network",
        )
    return {
        "name": node.name,
        "op": node.op,
        "target": target,
        "args": _to_json(node.args),
        "kwargs": {key: _to_json(item) for key, item in node.kwargs.items()},
        "tensor": node.meta.get("name"),
    }


def _to_json(value: Any) -> Any:
    if isinstance(value, fx.Node):
        return {"node": value.name}
    if isinstance(value, (list, tuple)):
        return [_to_json(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return {"float": str(value)}
    if value in TYPES.values():
        return {"dtype": str(value).removeprefix("torch.")}
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise UnsupportedError(
        "graph",
        "arguments on disk are numbers, text, lists and nodes",
        found=repr(value),
        next_step="replace the operator in the network",
    )


def _module_to_json(path: str, module: nn.Module) -> dict[str, Any]:
    kind = type(module).__name__
    if isinstance(module, nn.Dropout):
        return {"type": kind, "config": {"p": module.p}}
    if isinstance(module, NORMS):  # of a layer that stays in float
        channels, affine = module.num_features, module.affine
        facts = {"channels": channels, "eps": module.eps, "momentum": module.momentum}
        return {"type": kind, "config": {**facts, "affine": affine}}
    if not isinstance(module, (FakeQuantize, QuantizedLinear)):
        raise UnsupportedError(
            path,
            "a prepared model on disk has known modules only",
            found=kind,
            allowed=", ".join(MODULES),
            next_step="prepare the model again",
        )
    return {"type": kind, "config": module.config()}


def graph_from_json(facts: Mapping[str, Any], root: nn.Module) -> fx.GraphModule:
    """The GraphModule of ``facts`` over the tensors of ``root``, to which it adds its modules.

    Raises:
        UnsafeFileError: a call or module that is not on the allow-lists, or a name that is none.
        InputError: a node reads what is not there.
    """
    tensors = {*dict(root.named_parameters()), *dict(root.named_buffers())}
    for path, module in facts["modules"].items():
        if module["type"] not in MODULES:
            raise _unsafe(f"module {path}", "has known modules only", module["type"], *MODULES)
        attach(root, _checked(_PATH, path), MODULES[module["type"]](module["config"]))
    reader = _Reader(tensors, set(facts["modules"]))
    for node in facts["nodes"]:
        reader.add(node)
    reader.graph.lint()
    return fx.GraphModule(root, reader.graph, class_name="Prepared")


def _unsafe(where: str, rule: str, found: object, *allowed: str) -> UnsafeFileError:
    return UnsafeFileError(
        where,
        f"a prepared model {rule}",
        found=repr(found)[:80],
        allowed=", ".join(allowed),
        next_step="prepare the model again with this version",
    )


def _checked(pattern: re.Pattern[str], text: object) -> str:
    """``text`` where it is a name or a path; it becomes Python source.

    Raises:
        UnsafeFileError: it is neither.
    """
    if not isinstance(text, str) or not pattern.fullmatch(text) or keyword.iskeyword(text):
        raise _unsafe("graph", "has names of letters, digits and underscores", text)
    return text


class _Reader:
    """Builds a graph node by node.

    Args:
        tensors, modules: paths that a node may read or call.
    """

    def __init__(self, tensors: set[str], modules: set[str]) -> None:
        self.graph = fx.Graph()
        self.made: dict[str, fx.Node] = {}
        self.known = {"get_attr": tensors, "call_module": modules}

    def add(self, facts: Mapping[str, Any]) -> None:
        name, operation = _checked(_NAME, facts["name"]), facts["op"]
        target = self._target(name, operation, facts["target"])
        args = tuple(self._value(item) for item in facts["args"])
        kwargs = {_checked(_NAME, k): self._value(item) for k, item in facts["kwargs"].items()}
        if operation == "placeholder" and (args or kwargs):
            raise _unsafe(f"node {name}", "has inputs without defaults", facts["args"])
        if operation == "output":  # JSON has lists only; a model returns a tensor or a tuple
            args = tuple(tuple(item) if isinstance(item, list) else item for item in args)
        node = self.graph.create_node(operation, target, args, kwargs, name)
        if facts["tensor"] is not None:
            node.meta["name"] = str(facts["tensor"])
        self.made[name] = node

    def _target(self, name: str, operation: str, target: object) -> Any:
        """What the node calls, reads or is called.

        Raises:
            UnsafeFileError: it is not on the allow-lists.
            InputError: no such tensor or module.
        """
        if operation == "call_function":
            if target not in CALLS:
                raise _unsafe(f"node {name}", "makes known ATen calls only", target)
            return CALLS[str(target)]
        if operation in ("placeholder", "output"):
            return _checked(_NAME, target)
        if operation not in self.known:
            raise _unsafe(f"node {name}", "has known kinds of node only", operation)
        path = _checked(_PATH, target)
        if path not in self.known[operation]:
            raise InputError(
                f"node {name}",
                "a node reads and calls what the model has",
                found=path,
                next_step="prepare the model again",
            )
        return path

    def _value(self, value: Any) -> Any:
        if isinstance(value, list):
            return [self._value(item) for item in value]
        if not isinstance(value, dict):
            return value
        if "float" in value:
            return float(value["float"])
        if value.keys() == {"dtype"} and value["dtype"] in TYPES:
            return TYPES[value["dtype"]]
        if value.get("node") not in self.made:
            raise InputError(
                "graph",
                "a node reads nodes before it",
                found=repr(value.get("node"))[:80],
                next_step="prepare the model again",
            )
        return self.made[value["node"]]
