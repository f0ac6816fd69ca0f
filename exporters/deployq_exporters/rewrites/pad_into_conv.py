"""Pad by zeros, then Conv, becomes Conv with these pads: ONNX has four sides, aten.conv2d two.

Pad(x, 0.0) -> Conv(pads p)        becomes        Conv(x, pads p + pad)
"""

from __future__ import annotations

import onnx_ir as ir

from deployq_exporters.rewrites.rule import Rewrite, initializer_array, producer_of, remove_unread

RANK = 4


def match(node: ir.Node) -> bool:
    pad = producer_of(node.inputs[0], "Pad") if node.op_type == "Conv" else None
    if pad is None or pad.attributes.get_string("mode", "constant") != "constant":
        return False
    value = initializer_array(pad.inputs[2]) if len(pad.inputs) > 2 else None
    amounts = _amounts(pad)
    outside = [*amounts[:2], *amounts[RANK : RANK + 2]] if len(amounts) == 2 * RANK else [1]
    return (value is None or not value) and not any(outside) and min(amounts) >= 0


def _amounts(pad: ir.Node) -> list[int]:
    """Cells before each axis, then after each; none where they are not constant or not all."""
    array = initializer_array(pad.inputs[1])
    return [] if array is None or len(pad.inputs) > 3 else [int(n) for n in array]


def rewrite(graph: ir.Graph, node: ir.Node) -> None:
    pad = producer_of(node.inputs[0])
    assert pad is not None
    amounts = _amounts(pad)
    spatial = [*amounts[2:RANK], *amounts[RANK + 2 :]]
    own = node.attributes.get_ints("pads", [0] * len(spatial))
    node.attributes["pads"] = ir.AttrInt64s(
        "pads", [a + b for a, b in zip(own, spatial, strict=True)]
    )
    node.replace_input_with(0, pad.inputs[0])
    remove_unread(graph, pad)


RULE = Rewrite("pad into conv", match, rewrite)
