"""deployq::Named goes, and its name goes to what makes its operand.

    Named(Add(a, b); tensor T)    becomes    T: Add(a, b) -> T.real

For operators in float that no QuantizeLinear follows, which would name them.
"""

from __future__ import annotations

import onnx_ir as ir

from deployq_exporters.integer_ops import DOMAIN
from deployq_exporters.rewrites.rule import Rewrite


def match(node: ir.Node) -> bool:
    return node.domain == DOMAIN and node.op_type == "Named"


def rewrite(graph: ir.Graph, node: ir.Node) -> None:
    value, tensor = node.inputs[0], node.attributes["tensor"].as_string()
    assert value is not None
    maker = value.producer()
    if maker is not None and len(maker.outputs) == 1:
        maker.name, value.name = tensor, f"{tensor}.real"
    ir.convenience.replace_all_uses_with(node.outputs[0], value, replace_graph_outputs=True)
    graph.remove(node, safe=True)


RULE = Rewrite("named reals", match, rewrite)
