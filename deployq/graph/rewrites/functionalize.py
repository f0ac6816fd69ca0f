"""relu_(x) becomes relu(x), add_(x, y) becomes add(x, y), and so on.

torch.export already routes later uses of the mutated tensor through the in-place call, so the
functional form is exact, unless the call writes through a view: that is refused.
"""

from __future__ import annotations

import torch
from torch import fx

from deployq.errors import UnsupportedError
from deployq.graph.rewrites.rule import Rewrite, calls, replace

aten = torch.ops.aten
VIEWS = (aten.slice.Tensor, aten.select.int, aten.view.default, aten.permute.default)


def _overload(node: fx.Node) -> torch._ops.OpOverload | None:
    target = node.target
    return target if isinstance(target, torch._ops.OpOverload) else None


def match(module: fx.GraphModule, node: fx.Node) -> bool:
    overload = _overload(node)
    if node.op != "call_function" or overload is None or overload.namespace != "aten":
        return False
    return overload.overloadpacket.__name__.endswith("_")


def rewrite(module: fx.GraphModule, node: fx.Node) -> None:
    if calls(node.args[0], *VIEWS):
        raise UnsupportedError(
            node.name, "an in-place operator writes through a view", found=str(node.target),
            next_step="write the result to a new tensor in the model's forward",
        )
    overload = _overload(node)
    assert overload is not None
    packet = getattr(aten, overload.overloadpacket.__name__.rstrip("_"))
    new = replace(node, getattr(packet, overload._overloadname), node.args)
    new.kwargs = node.kwargs


RULE = Rewrite("functionalize", match, rewrite)
