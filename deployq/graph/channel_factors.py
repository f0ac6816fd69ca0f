"""A factor for each channel, in float, between an operator in float and its quantizer.

    Gelu -> FakeQuantize        becomes        Gelu -> Mul(factors) -> FakeQuantize

What reads the quantizer has the inverse in its weights: one scale for a tensor then fits channels
of different ranges, and the float function stays. The factors are a tensor of the prepared model
that no training moves; a file has them as an operator in float.
"""

from __future__ import annotations

from torch import Tensor, fx

from deployq.graph.float_tensors import OWN
from deployq.graph.operators import aten
from deployq.graph.rewrites.rule import calls
from deployq.graph.tensors import attach, free_name

FACTORS = f"{OWN}factors."
"""Where the paths of factors begin."""

UNSCALED = ".unscaled"
"""Behind the name of a tensor: what it was before its factors."""


def insert_factors(module: fx.GraphModule, node: fx.Node, factors: Tensor) -> None:
    """Multiply what ``node`` makes, for all that read it.

    Args:
        module: of a prepared model.
        node: an operator in float; its name stays that of the quantizer behind it.
        factors: float32, in a shape that broadcasts to the tensor.
    """
    path = free_name(module, FACTORS + str(node.meta["name"]).replace(".", "__"))
    attach(module, path, factors.detach().clone())
    with module.graph.inserting_after(node):
        read = module.graph.get_attr(path)
    with module.graph.inserting_after(read):
        scaled = module.graph.call_function(aten.mul.Tensor, (node, read))
    read.meta = {"name": path}
    scaled.meta = dict(node.meta)
    node.replace_all_uses_with(scaled, delete_user_cb=lambda user: user is not scaled)
    module.graph.lint()
    module.recompile()


def has_factors(node: fx.Node) -> bool:
    """True for an operator whose output is multiplied by factors."""
    return any(applies_factors(user) for user in node.users)


def applies_factors(node: fx.Node) -> bool:
    """True for the product with factors."""
    if not calls(node, aten.mul.Tensor):
        return False
    read = [arg for arg in node.all_input_nodes if arg.op == "get_attr"]
    return any(str(arg.target).startswith(FACTORS) for arg in read)


def factor_lines(module: fx.GraphModule) -> tuple[str, ...]:
    """Lines on the products with factors, as a plan lists operators in float (law 3)."""
    scaled = [node for node in module.graph.nodes if applies_factors(node)]
    return tuple(f"{n.meta['name']}: float, a factor for each channel" for n in scaled)
