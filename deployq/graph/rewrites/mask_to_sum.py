"""Scores that a computed mask hides get a number added that leaves them no share.

    softmax(masked_fill(x, c, -inf))         becomes    softmax(x + MASK real(c))
    softmax(where(c, x, -1e9))               becomes    softmax(x + MASK real(not c))
    scaled_dot_product_attention(.., c)      becomes    the same with the mask MASK real(not c)

for truths ``c`` that the network makes of its inputs, such as ``mask == 0``. A hidden key keeps a
share of less than 1e-20 beside any that counts; a query that every key is hidden from has the
shares of its scores, where torch has equal ones or none. Constant truths become a constant that is
added, if they leave each query a key.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, fx

from deployq.graph.masks import HIDDEN, MASK, added_to_scores
from deployq.graph.node_names import module_path
from deployq.graph.rewrites.build import aten, build, new_tensor, substitute
from deployq.graph.rewrites.expand_to_gather import EXPANDS
from deployq.graph.rewrites.last_axis_softmax import is_softmax
from deployq.graph.rewrites.rule import Rewrite, argument, calls
from deployq.graph.tensors import read_tensor

FILLS = (aten.masked_fill.Scalar, aten.masked_fill.Tensor)
CHOICES = (aten.where.self, aten.where.ScalarOther, aten.where.ScalarSelf)
ATTENTION = aten.scaled_dot_product_attention.default


@dataclass(frozen=True)
class Masked:
    """Scores, and the truths that hide some of them or, if ``counts``, name those that count."""

    scores: fx.Node
    truths: fx.Node
    counts: bool


def match(module: fx.GraphModule, node: fx.Node) -> bool:
    if calls(node, ATTENTION):
        given = argument(node, 3, "attn_mask")
        return given is not None and _computed_truths(given)
    if not calls(node, *FILLS, *CHOICES) or not all(map(is_softmax, node.users)):
        return False
    masked = _masked(module, node)
    if masked is None or _whole(masked.truths).op != "get_attr":
        return masked is not None and _computed_truths(masked.truths)
    return not bool((_constant(module, masked) == HIDDEN).all(-1).any())


def _masked(module: fx.GraphModule, node: fx.Node) -> Masked | None:
    """None where neither value hides a score."""
    first, second, third = node.args[:3]
    places = [(first, second, third, False)]
    if calls(node, *CHOICES):
        places = [(second, first, third, True), (third, first, second, False)]
    for scores, truths, value, counts in places:
        if isinstance(scores, fx.Node) and _hides(module, value):
            assert isinstance(truths, fx.Node)
            whole = scores.meta["val"].ndim == node.meta["val"].ndim
            return Masked(scores, truths, counts) if whole else None
    return None


def _computed_truths(node: fx.Node) -> bool:
    return _whole(node).op != "get_attr" and node.meta["val"].dtype == torch.bool


def _whole(node: fx.Node) -> fx.Node:
    """What is expanded over samples and heads: a sum does that by itself."""
    while calls(node, *EXPANDS):
        node = node.all_input_nodes[0]
    return node


def _hides(module: fx.GraphModule, value: object) -> bool:
    """True for a number that leaves no share."""
    if isinstance(value, fx.Node):
        if value.op != "get_attr" or value.meta["val"].numel() != 1:
            return False
        value = read_tensor(module, value).item()
    return isinstance(value, (int, float)) and value <= MASK


def _constant(module: fx.GraphModule, masked: Masked) -> Tensor:
    truths = read_tensor(module, _whole(masked.truths)).bool()
    return added_to_scores(truths if masked.counts else ~truths)


def rewrite(module: fx.GraphModule, node: fx.Node) -> None:
    if calls(node, ATTENTION):
        given = argument(node, 3, "attn_mask")
        node.replace_input_with(given, _hidden(node, given, counts=True))
        return
    masked = _masked(module, node)
    assert masked is not None
    if _computed_truths(masked.truths):
        hidden = _hidden(node, masked.truths, counts=masked.counts)
    else:
        name = f"{module_path(node)}.mask".lstrip(".")
        hidden = new_tensor(module, node, name, _constant(module, masked))
    with node.graph.inserting_before(node):
        total = node.graph.call_function(aten.add.Tensor, (masked.scores, hidden))
    substitute(node, total)


def _hidden(node: fx.Node, truths: fx.Node, *, counts: bool) -> fx.Node:
    """What is added to the scores."""
    truths = _whole(truths)
    if counts:
        truths = build(node, aten.logical_not.default, truths)
        truths.meta["part"] = "hidden"
    reals = build(node, aten.to.dtype, truths, torch.float32)
    reals.meta["part"] = "truths"
    mask = build(node, aten.mul.Tensor, reals, MASK)
    mask.meta["part"] = "mask"
    return mask


RULE = Rewrite("mask to sum", match, rewrite)
