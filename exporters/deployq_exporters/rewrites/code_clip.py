"""A Clip on codes, behind the QuantizeLinear that makes them."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from deployq_exporters.rewrites.rule import constant

BEFORE = ".codes.before_"
"""Between the name of a tensor and that of what a Clip does, of the codes in front of it."""


def clip_codes(
    graph: ir.Graph, node: ir.Node, bounds: tuple[int, int], kind: ir.DataType, name: str
) -> None:
    """Put ``Clip(codes, low, high)`` behind a QuantizeLinear; all that read the codes read it.

    Args:
        node: the QuantizeLinear.
        bounds: lowest and highest code.
        kind: element type of the codes.
        name: of what the Clip does; its node is ``<tensor>.<name>``.
    """
    codes, readers = node.outputs[0], list(node.outputs[0].uses())
    tensor = str(codes.name).removesuffix(".codes")
    ends = [
        constant(graph, f"{tensor}.{name}.{end}", np.asarray(bound), kind)
        for end, bound in zip(("low", "high"), bounds, strict=True)
    ]
    clip = ir.node("Clip", [codes, *ends], name=f"{tensor}.{name}")
    output = clip.outputs[0]
    output.name, output.shape = codes.name, codes.shape
    output.type = codes.type = ir.TensorType(kind)
    codes.name = f"{tensor}{BEFORE}{name}"
    graph.insert_after(node, clip)
    for user, index in readers:
        user.replace_input_with(index, output)
