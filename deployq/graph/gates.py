"""A tensor times its own Sigmoid in a prepared graph, which a contract may compute as one function.

    x -> quantizer -> sigmoid -> quantizer -> mul(x, .) -> quantizer

The reference's side of ``qgraph.gates``.
"""

from __future__ import annotations

from torch import fx

from deployq.graph.fake_quantize import is_quantizer
from deployq.graph.operators import aten
from deployq.graph.rewrites.rule import calls


def gated(module: fx.GraphModule, node: fx.Node) -> fx.Node | None:
    """The node whose values a product multiplies by their own Sigmoid; None of any other node.

    Quantizers alone read the product: a clamp behind it leaves it a product.
    """
    if not calls(node, aten.mul.Tensor) or len(node.all_input_nodes) != 2:
        return None
    if not all(is_quantizer(module, user) for user in node.users):
        return None
    a, b = node.all_input_nodes
    return next((x for x, gate in ((a, b), (b, a)) if _is_sigmoid_of(module, gate, x)), None)


def _is_sigmoid_of(module: fx.GraphModule, gate: fx.Node, x: fx.Node) -> bool:
    if not is_quantizer(module, gate):
        return False
    (made,) = gate.all_input_nodes
    return calls(made, aten.sigmoid.default) and made.all_input_nodes == [x]
