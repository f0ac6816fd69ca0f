"""Scores that a computed mask hides get a number added that leaves them no share.

    softmax(masked_fill(x, c, -inf))         becomes    softmax(x + MASK real(c))
    softmax(where(c, x, -1e9))               becomes    softmax(x + MASK real(not c))
    scaled_dot_product_attention(.., c)      becomes    the same with the mask MASK real(not c)

for truths ``c`` that the network makes of its inputs, such as ``mask == 0``. A hidden key keeps a
share of less than 1e-20 beside any that counts; a query that every key is hidden from has the
shares of its scores, where torch has equal ones or none.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import fx

from deployq.graph.masks import MASK
from deployq.graph.operators import is_softmax
from deployq.graph.rewrites.build import aten, build, substitute
from deployq.graph.rewrites.expand_to_gather import EXPANDS
from deployq.graph.rewrites.rule import Rewrite, argument, calls
from deployq.graph.tensors import read_tensor

FILLS = (aten.masked_fill.Scalar, aten.masked_fill.Tensor)
CHOICES = (aten.where.self, aten.where.ScalarOther)
ATTENTION = aten.scaled_dot_product_attention.default


def match(module: fx.GraphModule, node: fx.Node) -> bool:
    if calls(node, ATTENTION):
        given = argument(node, 3, "attn_mask")
        return given is not None and _computed_truths(given)
    if not calls(node, *FILLS, *CHOICES) or not all(map(is_softmax, node.users)):
        return False
    scores, truths = _operands(node)
    return (
        isinstance(scores, fx.Node)
        and _computed_truths(truths)
        and scores.meta["val"].ndim == node.meta["val"].ndim
        and _hides(module, node.args[2])
    )


def _operands(node: fx.Node) -> tuple[Any, fx.Node]:
    """Scores, and what says which of them are hidden, or count."""
    scores, truths = node.args[:2] if calls(node, *FILLS) else (node.args[1], node.args[0])
    assert isinstance(truths, fx.Node)
    return scores, truths


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


def rewrite(module: fx.GraphModule, node: fx.Node) -> None:
    if calls(node, ATTENTION):
        given = argument(node, 3, "attn_mask")
        node.replace_input_with(given, _hidden(node, given, counts=True))
        return
    scores, truths = _operands(node)
    hidden = _hidden(node, truths, counts=calls(node, *CHOICES))
    with node.graph.inserting_before(node):
        masked = node.graph.call_function(aten.add.Tensor, (scores, hidden))
    substitute(node, masked)


def _hidden(node: fx.Node, truths: fx.Node, *, counts: bool) -> fx.Node:
    """What is added to the scores; ``counts`` says that truths name those that count."""
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
