"""scaled_dot_product_attention becomes what it stands for: two products and a softmax.

    softmax((q c) k' + mask) v        with c = scale, or 1 / sqrt(E)

after torch's own definition. The factor stands at the queries, where it may melt into the layer
that makes them. Grouped heads (GQA) share keys and values by broadcasting. Equal up to float32
rounding. A query that a constant mask hides every key from gives 0 in torch and has no softmax:
such a call stays whole.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, fx

from deployq.graph.masks import HIDDEN, added_to_scores
from deployq.graph.node_names import module_path
from deployq.graph.rewrites.build import aten, build, new_tensor, substitute
from deployq.graph.rewrites.expand_to_gather import EXPANDS
from deployq.graph.rewrites.rule import Rewrite, argument, calls
from deployq.graph.tensors import read_tensor


def match(module: fx.GraphModule, node: fx.Node) -> bool:
    if not calls(node, aten.scaled_dot_product_attention.default):
        return False
    drops = float(argument(node, 4, "dropout_p", 0.0)) != 0.0
    return not drops and _heads_are_known(node) and _mask_is_known(module, node)


def _heads_are_known(node: fx.Node) -> bool:
    """Groups need (N, H, L, E) of fixed sizes, and as many heads of values as of keys."""
    if not argument(node, 7, "enable_gqa", False):
        return True
    q, k, v = (operand.meta["val"].shape for operand in _operands(node))
    fixed = all(len(s) == 4 and all(isinstance(size, int) for size in s[1:]) for s in (q, k, v))
    return fixed and bool(k[1] == v[1])


def _mask_is_known(module: fx.GraphModule, node: fx.Node) -> bool:
    """True and False must be constants that leave each query a key; a causal mask needs lengths."""
    given = _given_mask(node)
    if argument(node, 5, "is_causal", False):
        return all(isinstance(length, int) for length in _lengths(node))
    if given is None or given.op != "get_attr":
        return given is None or bool(given.meta["val"].is_floating_point())
    return not bool((_reals(read_tensor(module, given)) == HIDDEN).all(-1).any())


def _lengths(node: fx.Node) -> list[int]:
    """How many queries and keys."""
    return [operand.meta["val"].shape[-2] for operand in _operands(node)[:2]]


def _operands(node: fx.Node) -> list[fx.Node]:
    """Queries, keys and values, of which some may be one tensor."""
    return [argument(node, i, name) for i, name in enumerate(("query", "key", "value"))]


def _given_mask(node: fx.Node) -> fx.Node | None:
    """The mask argument; of one that is expanded over samples and heads, what is expanded."""
    given: fx.Node | None = argument(node, 3, "attn_mask")
    while given is not None and calls(given, *EXPANDS):
        given = given.all_input_nodes[0]
    return given


def rewrite(module: fx.GraphModule, node: fx.Node) -> None:
    q, k, v = _operands(node)
    scale = argument(node, 6, "scale")
    factor = 1 / math.sqrt(int(q.meta["val"].shape[-1])) if scale is None else float(scale)
    groups, mask = _groups(node, q, k), _mask(module, node)
    if groups > 1:
        q, k, v = _grouped(node, q, groups), *(build(node, aten.unsqueeze.default, n, 2)
                                               for n in (k, v))  # fmt: skip
        mask = None if mask is None else _grouped_mask(node, mask, groups)
    scaled = _part(build(node, aten.mul.Tensor, q, factor), "scaled")
    keys = build(node, aten.transpose.int, k, -2, -1)
    scores = _part(_product(node, scaled, keys), "scores")
    if mask is not None:
        scores = _part(_product(node, scores, mask, aten.add.Tensor), "masked")
    shares = _part(build(node, aten.softmax.int, scores, -1), "softmax")
    mixed = _product(node, shares, v)
    if groups > 1:
        mixed = build(node, aten.flatten.using_ints, _part(mixed, "mixed"), 1, 2)
    substitute(node, mixed)


def _part(node: fx.Node, name: str) -> fx.Node:
    node.meta["part"] = name
    return node


def _product(
    node: fx.Node, a: fx.Node, b: fx.Node, target: torch._ops.OpOverload = aten.matmul.default
) -> fx.Node:
    """A call on two tensors in front of ``node``, with a shape."""
    with node.graph.inserting_before(node):
        product = node.graph.call_function(target, (a, b))
    product.meta = {**node.meta, "val": target(a.meta["val"], b.meta["val"])}
    return product


def _groups(node: fx.Node, q: fx.Node, k: fx.Node) -> int:
    """How many heads of queries share one of keys."""
    if not argument(node, 7, "enable_gqa", False):
        return 1
    return int(q.meta["val"].shape[-3]) // int(k.meta["val"].shape[-3])


def _grouped(node: fx.Node, q: fx.Node, groups: int) -> fx.Node:
    """(N, H, L, E) to (N, H / groups, groups, L, E)."""
    _, heads, rows, width = q.meta["val"].shape
    return build(node, aten.reshape.default, q, [-1, heads // groups, groups, rows, width])


def _grouped_mask(node: fx.Node, mask: fx.Node, groups: int) -> fx.Node:
    """(..., H, L, S) to (..., H / groups, groups, L, S); one for all heads stays one for all."""
    shape = mask.meta["val"].shape
    if len(shape) < 3:
        return mask
    if shape[-3] == 1:
        return build(node, aten.unsqueeze.default, mask, len(shape) - 3)
    split = [int(shape[-3]) // groups, groups]
    return build(node, aten.unflatten.int, mask, len(shape) - 3, split)


def _mask(module: fx.GraphModule, node: fx.Node) -> fx.Node | None:
    """What is added to the scores, as reals."""
    given = _given_mask(node)
    if argument(node, 5, "is_causal", False):
        allowed = torch.ones(_lengths(node), dtype=torch.bool).tril()
        return _constant(module, node, f"{module_path(node)}.causal_mask".lstrip("."), allowed)
    if given is None or given.meta["val"].is_floating_point():
        return given
    allowed = read_tensor(module, given)
    if bool(allowed.all()):
        return None
    return _constant(module, node, f"{given.target}_reals", allowed)


def _reals(mask: Tensor) -> Tensor:
    """Of a mask that says which scores count; one of reals is what it is."""
    return mask if mask.is_floating_point() else added_to_scores(mask)


def _constant(module: fx.GraphModule, node: fx.Node, name: str, allowed: Tensor) -> fx.Node:
    return new_tensor(module, node, name, _reals(allowed))


RULE = Rewrite("attention to products", match, rewrite)
