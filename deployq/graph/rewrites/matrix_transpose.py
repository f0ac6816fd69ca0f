"""x.mT becomes x.transpose(-2, -1): movement that targets list.

``aten.mH`` is its complex kin and stays, as ``aten.numpy_T`` of more axes moves the batch.
"""

from __future__ import annotations

from torch import fx

from deployq.graph.rewrites.build import aten, build, substitute
from deployq.graph.rewrites.rule import Rewrite, calls


def match(module: fx.GraphModule, node: fx.Node) -> bool:
    return calls(node, aten.mT.default)


def rewrite(module: fx.GraphModule, node: fx.Node) -> None:
    substitute(node, build(node, aten.transpose.int, node.all_input_nodes[0], -2, -1))


RULE = Rewrite("matrix transpose", match, rewrite)
