"""The graph takes and gives codes: its first QuantizeLinear and last DequantizeLinear go.

    x float -> [Clip] QuantizeLinear -> q ...    becomes    x (type of q) ...
    ... q -> DequantizeLinear -> T float         becomes    ... T (type of q)

Inputs and outputs keep their names; those without a grid keep their reals. A range that does not
fill its container was the removed Clip's: it becomes the caller's duty, and the manifest states it.
"""

from __future__ import annotations

import onnx_ir as ir

from deployq_exporters.rewrites.rule import Rewrite, producer_of


def match(node: ir.Node) -> bool:
    if node.op_type == "QuantizeLinear":
        return _edge_input(node) is not None
    return node.op_type == "DequantizeLinear" and node.outputs[0].is_graph_output()


def _edge_input(node: ir.Node) -> ir.Value | None:
    """The graph input that nothing but this QuantizeLinear reads, perhaps through its range."""
    value = node.inputs[0]
    clip = producer_of(value)
    if clip is not None and str(clip.name).endswith(".range"):
        value = clip.inputs[0]
    if value is None or not value.is_graph_input() or len(value.uses()) != 1:
        return None
    return value


def rewrite(graph: ir.Graph, node: ir.Node) -> None:
    if node.op_type == "QuantizeLinear":
        _take_codes(graph, node)
    else:
        _give_codes(graph, node)


def _take_codes(graph: ir.Graph, node: ir.Node) -> None:
    x, codes, value = _edge_input(node), node.outputs[0], node.inputs[0]
    assert x is not None and value is not None
    clip = value.producer()
    x.type = codes.type
    ir.convenience.replace_all_uses_with(codes, x)
    graph.remove(node, safe=True)
    if clip is not None:
        graph.remove(clip, safe=True)


def _give_codes(graph: ir.Graph, node: ir.Node) -> None:
    codes, real = node.inputs[0], node.outputs[0]
    assert codes is not None
    name = str(real.name)
    if codes.is_graph_input() or codes.is_graph_output():  # codes have one name at an edge
        copy = ir.node("Identity", [codes], name=f"{name}.copy")
        copy.outputs[0].type, copy.outputs[0].shape = codes.type, codes.shape
        graph.insert_before(node, copy)
        codes = copy.outputs[0]
    for index, output in enumerate(graph.outputs):
        if output is real:
            graph.outputs[index] = codes
    if real.uses():
        real.name = f"{name}.dequantized"
    else:
        graph.remove(node, safe=True)
    codes.name = name


RULE = Rewrite("integer edges", match, rewrite)
