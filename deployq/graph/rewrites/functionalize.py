"""relu_(x) becomes relu(x), add_(x, y) becomes add(x, y), and so on.

torch.export already routes later uses of the changed tensor through the in-place call, so the
functional form is exact, unless other names of the same memory are in use: that is refused.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import fx

from deployq.errors import UnsupportedError
from deployq.graph.rewrites.rule import Rewrite, replace

aten = torch.ops.aten


def match(module: fx.GraphModule, node: fx.Node) -> bool:
    overload = _overload(node)
    if overload is None or overload.namespace != "aten":
        return False
    name: str = overload.overloadpacket.__name__
    return name.endswith("_") and not name.endswith("__")


def _overload(node: fx.Node) -> Any:
    """The ATen overload that a node calls, if any; torch types its schema loosely."""
    return node.target if isinstance(node.target, torch._ops.OpOverload) else None


def rewrite(module: fx.GraphModule, node: fx.Node) -> None:
    found = _written_elsewhere(node)
    if found:
        raise UnsupportedError(
            node.name,
            "an in-place call changes a tensor that has no other name",
            found=f"{node.target} on {found}",
            next_step="write the result to a new tensor in the model's forward",
        )
    overload = _overload(node)
    packet = getattr(aten, overload.overloadpacket.__name__[:-1])
    new = replace(node, getattr(packet, overload._overloadname), node.args)
    new.kwargs = node.kwargs


def _written_elsewhere(node: fx.Node) -> str:
    """What else sees the change: a state of the model, or a view; empty where nothing does."""
    memory, child = node.args[0], node
    assert isinstance(memory, fx.Node)
    while True:
        if memory.op == "get_attr":
            return f"{memory.target}, a tensor of the model"
        others = [user for user in memory.users if user is not child]
        views = others if child is not node else [user for user in others if _is_view(user)]
        if views:
            return f"{memory.name}, whose memory {views[0].name} reads"
        if not _is_view(memory):
            return ""
        memory, child = memory.all_input_nodes[0], memory


def _is_view(node: fx.Node) -> bool:
    """True when the result may share the memory of the first input."""
    overload = _overload(node)
    if overload is None:
        return False
    aliases = [value.alias_info for value in overload._schema.returns]
    return any(alias is not None and not alias.is_write for alias in aliases)


RULE = Rewrite("functionalize", match, rewrite)
