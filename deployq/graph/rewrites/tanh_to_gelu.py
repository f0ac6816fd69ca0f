"""The approximation of GELU by a tanh becomes gelu(x, approximate="tanh"): one call, not nine.

    x / 2 (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3)))

Hendrycks and Gimpel, "Gaussian Error Linear Units", section 2. Equal up to float32 rounding.
"""

from __future__ import annotations

import math
from typing import Any

from torch import fx

from deployq.graph.rewrites.build import aten
from deployq.graph.rewrites.rule import Rewrite, calls

CUBIC, ROOT = 0.044715, math.sqrt(2 / math.pi)


def match(module: fx.GraphModule, node: fx.Node) -> bool:
    return _source(node) is not None


def _source(node: fx.Node) -> fx.Node | None:
    """x, where the node is the last product."""
    for a, b in _both(node):
        x, weight = _times(a, 0.5), _plus(b, 1.0)
        inner = _times(weight.args[0], ROOT) if calls(weight, aten.tanh.default) else None
        if isinstance(x, fx.Node) and _is_cubic(inner, x):
            return x
    return None


def _both(node: Any) -> list[tuple[Any, Any]]:
    """The factors of a product in both orders."""
    if not calls(node, aten.mul.Tensor) or len(node.args) != 2:
        return []
    a, b = node.args
    return [(a, b), (b, a)]


def _times(node: Any, number: float) -> Any:
    """What a call multiplies by about this number; None for any other call."""
    for x, factor in _both(node):
        if isinstance(factor, float) and math.isclose(factor, number, rel_tol=1e-6):
            return x
    return None


def _plus(node: Any, number: float) -> Any:
    """What a call adds the number to."""
    if not calls(node, aten.add.Tensor) or node.kwargs or number not in node.args:
        return None
    return node.args[1 - node.args.index(number)]


def _is_cubic(node: Any, x: fx.Node) -> bool:
    """x + 0.044715 x^3."""
    if not calls(node, aten.add.Tensor) or node.kwargs or x not in node.args:
        return False
    cube = _times(node.args[1 - node.args.index(x)], CUBIC)
    power = calls(cube, aten.pow.Tensor_Scalar) and cube.args == (x, 3)
    return power or _is_product(cube, x)


def _is_product(cube: Any, x: fx.Node) -> bool:
    """x x x."""
    return any(a is x and _both(b)[:1] == [(x, x)] for a, b in _both(cube))


def rewrite(module: fx.GraphModule, node: fx.Node) -> None:
    x = _source(node)
    with node.graph.inserting_before(node):
        gelu = node.graph.call_function(aten.gelu.default, (x,), {"approximate": "tanh"})
    gelu.meta = {**node.meta, "part": "gelu"}
    node.replace_all_uses_with(gelu)
    node.graph.erase_node(node)


RULE = Rewrite("tanh to gelu", match, rewrite)
