"""addmm(bias, x, W) and mm(x, W) of a constant W (K, M) become linear(x, W', bias).

GPT-2 keeps its weights the other way round, and flattens samples and positions in front.
"""

from __future__ import annotations

from torch import fx

from deployq.graph.rewrites.build import aten, shared_tensor
from deployq.graph.rewrites.rule import Rewrite, calls, replace
from deployq.graph.tensors import kin, read_tensor


def match(module: fx.GraphModule, node: fx.Node) -> bool:
    if node.kwargs or not calls(node, aten.addmm.default, aten.mm.default):
        return False
    bias, x, weight = _operands(node)
    constants = [weight] if bias is None else [weight, bias]
    known = all(isinstance(a, fx.Node) and a.op == "get_attr" for a in constants)
    fits = bias is None or bias.meta["val"].shape == weight.meta["val"].shape[1:]
    return known and fits and x.op != "get_attr"


def _operands(node: fx.Node) -> tuple[fx.Node | None, fx.Node, fx.Node]:
    """Bias, input and weight."""
    bias, x, weight = node.args if calls(node, aten.addmm.default) else (None, *node.args)
    return bias, x, weight  # type: ignore[return-value] # tensors, by the operators' schemas


def rewrite(module: fx.GraphModule, node: fx.Node) -> None:
    bias, x, weight = _operands(node)
    tensor = read_tensor(module, weight)
    turned = shared_tensor(
        module, node, f"{weight.target}_transposed",
        lambda: kin(tensor.detach().T.contiguous(), tensor),
    )  # fmt: skip
    replace(node, aten.linear.default, (x, turned, bias))


RULE = Rewrite("addmm to linear", match, rewrite)
