"""An AveragePool that counts its padding reads codes that are padded before it.

    q -> DQ -> AveragePool(pads, count_include_pad)    becomes    q -> Pad(z) -> DQ -> AveragePool

Exact: the padded cells are the real 0, whose code is the zero point. OpenVINO 2026.4.1 takes code 0
for them, and with a zero point of 100 every mean at an edge is wrong.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from deployq_exporters.rewrites.rule import Rewrite, constant, producer_of, remove_unread

UNPADDED = ("pads", "count_include_pad")


def match(node: ir.Node) -> bool:
    if node.op_type != "AveragePool" or not any(_pads(node)):
        return False
    counted = node.attributes.get("count_include_pad")
    source = producer_of(node.inputs[0], "DequantizeLinear")
    return bool(counted and counted.as_int() and source and len(source.inputs) == 3)


def _pads(node: ir.Node) -> list[int]:
    stated = node.attributes.get("pads")
    return [] if stated is None else list(stated.as_ints())


def rewrite(graph: ir.Graph, node: ir.Node) -> None:
    source = producer_of(node.inputs[0])
    assert source is not None
    codes, scale, zero_point = source.inputs
    pads, name = _pads(node), str(node.name or node.outputs[0].name)
    half = len(pads) // 2
    wide = [0, 0, *pads[:half], 0, 0, *pads[half:]]  # samples and channels have none
    amounts = constant(graph, f"{name}.pads", np.asarray(wide), ir.DataType.INT64)
    padded = ir.node("Pad", [codes, amounts, zero_point], name=f"{name}.pad")
    reals = ir.node("DequantizeLinear", [padded.outputs[0], scale, zero_point], name=f"{name}.read")
    padded.outputs[0].name, reals.outputs[0].name = f"{name}.padded", f"{name}.padded.real"
    graph.insert_before(node, [padded, reals])
    node.replace_input_with(0, reals.outputs[0])
    for key in UNPADDED:
        del node.attributes[key]
    remove_unread(graph, source)


RULE = Rewrite("pad before average", match, rewrite)
